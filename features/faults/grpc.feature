Feature: Faults of gRPC calls
  A gRPC call fails by its own status, which comes with HTTP status 200: nobody who looks at that alone sees the failure.

  Background:
    Given the request "charge by gRPC":
      """
      POST http://payment-service:9000/shop.Payment/Charge
      Content-Type: application/grpc

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge by gRPC as qa":
      """
      POST http://payment-service:9000/shop.Payment/Charge
      Content-Type: application/grpc
      X-User: qa

      {"sku": "A1", "quantity": 1}
      """

  Scenario: A gRPC call fails by its status, though HTTP says 200
    Given payment-service fails 100% with gRPC status INTERNAL
    When "charge by gRPC" is sent 5 times
    Then every response has status 200
    And at least 100% of requests fail

  Scenario: A gRPC fault for one caller, and for one header of its calls
    Given payment-service fails 100% with gRPC status RESOURCE_EXHAUSTED
      | called by     | client |
      | header X-User | qa     |
    When "charge by gRPC as qa" is sent 5 times
    Then at least 100% of requests fail
    When "charge by gRPC" is sent 5 times
    Then at least 100% of requests succeed

  Scenario: A gRPC fault at the server is in its access log
    Given payment-service fails 100% with gRPC status UNAVAILABLE
      | inject at | server |
    When "charge by gRPC" is sent 5 times
    Then at least 100% of requests fail
    And the access log of payment-service has at least 5 requests with status 200

  Scenario: Retries of the mesh hide a flaky payment by gRPC
    Given calls to payment-service are retried up to 5 times
    And payment-service fails 30% with gRPC status UNAVAILABLE
    When enough "charge by gRPC" requests are sent
    Then more than 95% of requests succeed
