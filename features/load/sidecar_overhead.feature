Feature: What the sidecar costs
  Every call passes two proxies; what they add has to stay small.

  Scenario: The sidecar hardly slows a small page
    Given the request "version":
      """
      GET http://order-service/version
      """
    When "version" is sent 20 times
    Then every response has status 200
    And the sidecar adds less than 20ms to the median latency
    And the sidecar adds less than 50ms to the p99 latency

  Scenario: The sidecar hardly delays a new pod
    Then the sidecar adds less than 2s to the cold start of notification-service
