Feature: As many requests as it takes
  How many requests does a claim need? As few as its verdict allows: red on a true claim less than once in a million.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """
    And the request "version":
      """
      GET http://order-service/version
      """

  Scenario: Retries hide a flaky payment, by as many requests as it takes
    Given payment-service fails 30% with status 503
    When enough "checkout" requests are sent
    Then more than 95% of requests succeed

  Scenario: A canary gets its share, from the guide's manifest
    Given the manifest "manifests/examples/canary-90-10.yaml" is applied
    When enough "version" requests are sent
    Then between 5% and 20% of responses have "version" equal to "canary"
    And about 90% of responses have "version" equal to "stable"
    And every response has status 200

  Scenario: Checkout is quick
    When enough "checkout" requests are sent
    Then the p95 latency is below 2s
    And at most 5% of requests fail
