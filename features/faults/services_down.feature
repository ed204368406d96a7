Feature: A service is down
  What customers do not wait for may be down; what they need is reported missing.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Checkout works although notification-service is down
    Given notification-service is down
    When "checkout" is sent 10 times
    Then every response has status 200

  Scenario: Checkout says that inventory is missing, and works again with it
    Given inventory-service is down
    When "checkout" is sent
    Then the response field "error" is "inventory_unavailable"
    When inventory-service recovers
    And "checkout" is sent
    Then the response status is 200

  Scenario: A service that is down takes no connection, until it is back
    Given the request "notify":
      """
      POST http://notification-service/notify
      Content-Type: application/json

      {"order_id": "1"}
      """
    And notification-service is down
    When "checkout" is sent
    Then the response status is 200
    When "notify" is sent from outside the mesh
    Then the connection is refused
    When notification-service recovers
    And "notify" is sent from outside the mesh
    Then the response status is 200

  Scenario: A client outside the mesh meets no fault of the mesh
    Given payment-service fails 100%
      | called by | client |
    And the request "charge":
      """
      POST http://payment-service/charge
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """
    When "charge" is sent
    Then the response status is 503
    When "charge" is sent from outside the mesh
    Then the response status is 200
