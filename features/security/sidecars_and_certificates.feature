Feature: Sidecars and certificates
  What has no sidecar is in no mesh: no fault reaches it, no policy protects it.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Every service of the shop is in the mesh
    Then every pod of order-service has a sidecar
    And every pod of payment-service has a sidecar
    And every pod of inventory-service has a sidecar
    And every pod of notification-service has a sidecar

  Scenario: Services speak mutual TLS to each other
    When "checkout" is sent 5 times
    Then calls from client to order-service use mutual TLS
    And calls from order-service to payment-service use mutual TLS
    And calls from order-service to inventory-service use mutual TLS

  Scenario: No certificate is about to end
    Then the certificate of order-service is valid for at least 1h
    And the certificate of payment-service is valid for at least 1h
