Feature: Timeouts and retries
  A retry hides a short failure, a timeout bounds a long one; together they multiply, unless the timeout is for all tries.

  Background:
    Given the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """
    And the request "checkout":
      """
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      """

  Scenario: The mesh gives up on a slow payment in time
    Given calls to payment-service time out after 500ms
    And payment-service is slowed by 3s
    When "charge" is sent
    Then the response status is 504
    And client gives up on payment-service within 600ms

  Scenario: The mesh retries a payment that fails
    Given calls to payment-service are retried up to 3 times
    And payment-service fails 100% with status 503
    When "charge" is sent
    Then the response status is 503
    And client calls payment-service at most 4 times per request
    And client calls payment-service at least 4 times per request

  Scenario: Retries of the mesh hide a flaky payment
    Given calls to payment-service are retried up to 5 times
    And payment-service fails 30% with status 503
    When enough "charge" requests are sent
    Then more than 95% of requests succeed

  Scenario: One timeout bounds all tries together
    Given calls to payment-service are retried up to 3 times
    And calls to payment-service time out after 1s
    And payment-service is slowed by 400ms
    And payment-service fails 100% with status 503
    When "charge" is sent
    Then the response status is 504
    And the response arrives within 1100ms
    And client calls payment-service at least 2 times per request

  Scenario: A timeout for each try is multiplied by the tries, by the team's own manifest
    Given the manifest "manifests/examples/payment-retries.yaml" is applied
    And payment-service is slowed by 3s
    When "charge" is sent
    Then the response status is 504
    And the response takes at least 800ms
    And client gives up on payment-service within 1500ms
    And client calls payment-service at least 3 times per request

  Scenario: The shop's own retries are bounded
    Given payment-service fails 100%
    When "checkout" is sent 5 times by 5 users
    Then order-service calls payment-service at most 6 times per request

  Scenario: The shop's own patience with payment is bounded
    Given payment-service is slowed by 5s
    When "checkout" is sent
    Then order-service gives up on payment-service within 2s
