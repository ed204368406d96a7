Feature: Faults of gRPC calls
  A gRPC call fails by its own status, which comes with HTTP status 200: nobody who looks at that alone sees the failure.

  Background:
    Given the request "charge by gRPC":
      """
      POST http://payment-service:9000/shop.Payment/Charge
      Content-Type: application/grpc

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Retries of the mesh hide a flaky payment by gRPC
    Given calls to payment-service are retried up to 5 times
    And payment-service fails 30% with gRPC status UNAVAILABLE
    When enough "charge by gRPC" requests are sent
    Then more than 95% of requests succeed
