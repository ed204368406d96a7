Feature: Circuit breaker
  When payment-service fails, its callers stop calling it, fail fast, and try again later.

  Background:
    Given the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """

  Scenario: The circuit opens, tries again, and closes when payment is well again
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 2s
    And payment-service fails 100%
    When "charge" is sent 20 times
    Then the circuit to payment-service opens within 2s
    And the circuit to payment-service is half-open within 10s
    When payment-service recovers
    Then the circuit to payment-service closes within 10s

  # A mesh may also hold a request back for as long as the circuit is open.
  @istio
  Scenario: An open circuit fails fast
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 10s
    And payment-service is slowed by 200ms
    And payment-service fails 100%
    When "charge" is sent 10 times by 5 users
    Then the circuit to payment-service opens within 2s
    When "charge" is sent
    Then the response arrives within 100ms

  # As many calls as open it and none more: a mesh may hold each further one back until it is closed again.
  Scenario: After the circuit has closed, payments go through
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 2s
    And payment-service fails 100%
    When "charge" is sent 5 times
    Then the circuit to payment-service is open
    When payment-service recovers
    Then the circuit to payment-service closes within 10s
    When "charge" is sent 20 times
    Then every response has status 200

  Scenario: A few errors do not open the circuit
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 5s
    And payment-service fails 100%
    When "charge" is sent 3 times
    Then the access log of payment-service has at least 3 requests with status 503

  Scenario: The team's own breaker opens, and closes again
    Given the manifest "manifests/examples/payment-breaker.yaml" is applied
    And payment-service fails 100%
    When "charge" is sent 20 times
    Then the circuit to payment-service opens within 2s
    When payment-service recovers
    Then the circuit to payment-service closes within 10s
