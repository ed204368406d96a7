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
