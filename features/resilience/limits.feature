Feature: Limits and bulkheads
  What is slow or overloaded must not take the rest along.

  Background:
    Given the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """
    And the request "version":
      """
      GET http://order-service/version
      """

  Scenario: Requests beyond the limit are turned away at once
    Given payment-service accepts at most 2 concurrent requests
    And payment-service is slowed by 500ms
    When "charge" is sent 20 times by 10 users
    Then at least 70% of requests fail
    And the p50 latency is below 250ms
    And at least 5% of requests succeed

  Scenario: A slow payment does not slow other pages
    Given payment-service is slowed by 500ms
    When "charge" keeps being sent at 20/s
    Then a slow payment-service does not slow "version"
