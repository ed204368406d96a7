Feature: Test data under strict mutual TLS
  Whoever sets up test data from outside the mesh is turned away once mutual TLS is strict. There are two ways to go on.

  Background:
    Given the request "reserve":
      """
      POST http://inventory-service/reserve

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge by gRPC":
      """
      POST http://payment-service:9000/shop.Payment/Charge
      Content-Type: application/grpc

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Test data from outside is turned away under strict mutual TLS
    Given mutual TLS is strict
    When "reserve" is sent from outside the mesh
    Then the request is turned away

  Scenario: Test data comes from outside, through one port that is left permissive
    Given the manifest "manifests/examples/payment-test-port.yaml" is applied
    When "charge" is sent from outside the mesh
    Then the response field "status" is "charged"
    When "charge by gRPC" is sent from outside the mesh
    Then the request is turned away

  Scenario: Test data comes from outside, through one service that is left permissive
    Given mutual TLS is strict
    And mutual TLS is permissive for inventory-service
    When "reserve" is sent from outside the mesh
    Then the response field "status" is "reserved"
    And payment-service rejects plaintext

  Scenario: Test data comes from a client in the mesh, and nothing is left open
    Given mutual TLS is strict
    When "reserve" is sent 3 times
    Then every response has status 200
    And calls from client to inventory-service use mutual TLS
    And inventory-service rejects plaintext
