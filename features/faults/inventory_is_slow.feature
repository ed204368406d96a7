Feature: Inventory is slow
  A customer does not wait for ever: checkout gives up on inventory in under three seconds.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Checkout gives up on a slow inventory
    Given inventory-service is slowed by 5s
    When "checkout" is sent
    Then the response status is 503
    And the response field "error" is "inventory_unavailable"
    And the response arrives within 3s

  Scenario: Checkout gives up on a slow inventory, from the guide's manifest
    Given the manifest "manifests/examples/inventory-delay-5s.yaml" is applied
    When "checkout" is sent
    Then the response status is 503
    And the response field "error" is "inventory_unavailable"
    And the response arrives within 3s

  Scenario: A little slowness does no harm
    Given inventory-service is slowed by 250ms for 50% of requests
    When "checkout" is sent 20 times by 4 users
    Then every response has status 200
