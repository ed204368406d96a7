Feature: Claims about resilience, and what becomes of them on the healthy shop
  The first word of a scenario says what is to become of it: passed, failed, or error for inconclusive.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      """
    And the request "version":
      """
      GET http://order-service/version
      """

  Scenario: passed: order-service gives up on a slow inventory in time
    Given inventory-service is slowed by 9s
    When "checkout" is sent
    Then order-service gives up on inventory-service within 8s

  Scenario: failed: one second is less than it waits
    Given inventory-service is slowed by 1500ms
    When "checkout" is sent
    Then order-service gives up on inventory-service within 1s

  Scenario: error: nobody had to give up
    Given inventory-service is slowed by 100ms
    When "checkout" is sent
    Then order-service gives up on inventory-service within 1s

  Scenario: passed: six tries are the bound
    Given payment-service fails 100%
    When "checkout" is sent 2 times
    Then order-service calls payment-service at most 6 times per request
      | apart | 5ms |

  Scenario: failed: five tries are not
    Given payment-service fails 100%
    When "checkout" is sent
    Then order-service calls payment-service at most 5 times per request

  Scenario: failed: it does not pause for a second
    Given payment-service fails 100%
    When "checkout" is sent
    Then order-service calls payment-service at most 6 times per request
      | apart | 1s |

  Scenario: error: nobody came to the end of his tries
    Given payment-service fails 100%
      | called by | client |
    And the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """
    When "charge" is sent
    And "checkout" is sent
    Then order-service calls payment-service at most 6 times per request

  Scenario: passed: a slow inventory does not slow the version
    Given inventory-service is slowed by 600ms
    When "checkout" keeps being sent at 5/s
    Then a slow inventory-service does not slow "version"
      | by at most | 200ms |

  Scenario: failed: a slow inventory slows the checkout
    Given inventory-service is slowed by 600ms
    Then a slow inventory-service does not slow "checkout"
      | by at most | 100ms |

  Scenario: error: the inventory is not slow
    Given payment-service is slowed by 20ms
    When "checkout" keeps being sent at 5/s
    Then a slow inventory-service does not slow "version"

  Scenario: passed: the sidecar adds little
    When "version" is sent
    Then the sidecar adds less than 1s to the median latency

  Scenario: not passed: a sidecar is not free
    When "version" is sent
    Then the sidecar adds less than 0.01ms to the median latency

  Scenario: failed: there is no circuit to open
    When "checkout" is sent
    Then the circuit to payment-service is open

  Scenario: error: nobody called the service behind the circuit
    When "version" is sent
    Then the circuit to notification-service opens within 100ms

  Scenario: passed: the circuit opens and closes
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 3s
    And payment-service fails 100%
    When "checkout" keeps being sent at 10/s
    Then the circuit to payment-service opens within 5s
    When payment-service recovers
    Then the circuit to payment-service closes within 20s

  Scenario: failed: an ejection that has ended is no closed circuit while payment fails
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 1s
    And payment-service fails 100%
    When "checkout" is sent
    Then the circuit to payment-service is open
    And the circuit to payment-service is half-open within 10s
    And the circuit to payment-service closes within 3s

  Scenario: passed: what came to the circuit is sent again, whatever was sent last
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 1s
    And payment-service fails 100%
    When "checkout" is sent
    Then the circuit to payment-service is open
    When "version" is sent
    Then the circuit to payment-service is half-open within 3s

  Scenario: failed: a circuit is open and does not close before its time
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 30s
    And payment-service fails 100%
    When "checkout" is sent 10 times by 5 users
    Then the circuit to payment-service opens within 5s
    And the circuit to payment-service is open
    And the circuit to payment-service closes within 500ms

  Scenario: failed: the guide's circuit breaker can eject nobody
    Given the manifest "circuit-breaker.yaml" is applied
    And payment-service fails 100%
      | inject at | server |
    When "checkout" is sent 10 times by 5 users
    Then the circuit to payment-service opens within 500ms

  Scenario: error: too few errors to open a circuit
    Given payment-service has a circuit breaker that opens after 50 consecutive errors for 1s
    And payment-service fails 100%
    When "checkout" is sent
    Then the circuit to payment-service opens within 500ms

  Scenario: error: a circuit that was never open does not close
    Given payment-service has a circuit breaker that opens after 5 consecutive errors for 1s
    When "checkout" is sent
    Then the circuit to payment-service closes within 500ms

  Scenario: passed: tries multiply, three of the proxy for each of the application's six
    Given calls to payment-service are retried up to 2 times
    And payment-service fails 100%
    When "checkout" is sent
    Then order-service calls payment-service at most 18 times per request

  Scenario: failed: one less than six times three
    Given calls to payment-service are retried up to 2 times
    And payment-service fails 100%
    When "checkout" is sent
    Then order-service calls payment-service at most 17 times per request
