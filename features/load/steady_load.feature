Feature: A steady load
  Customers come when they like, whether the last one was served or not; what happens meanwhile must not reach them.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Checkout keeps up
    When "checkout" is sent at 30/s for 2s
    Then every response has status 200
    And the p95 latency is below 2s

  Scenario: Customers do not notice that notifications fail for a while
    When "checkout" keeps being sent at 20/s
    And notification-service is down
    And "checkout" is sent 5 times
    And notification-service recovers
    And the load stops
    Then every response has status 200
