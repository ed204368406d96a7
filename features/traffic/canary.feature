Feature: Canary and mirroring
  A new version gets a little traffic first, or a copy of it that nobody waits for.

  Background:
    Given the request "version":
      """
      GET http://order-service/version
      """

  Scenario: A tenth of the customers see the canary
    Given traffic to order-service is split 90% to stable and 10% to canary
    When enough "version" requests are sent
    Then about 10% of responses have "version" equal to "canary"
    And every response has status 200

  Scenario: All traffic goes to the stable version
    Given traffic to order-service is split 100% to stable and 0% to canary
    When "version" is sent 50 times
    Then between 100% and 100% of responses have "version" equal to "stable"

  Scenario: The canary gets a copy, and the customer the stable answer
    Given traffic to order-service is split 100% to stable and 0% to canary
    And traffic to order-service is mirrored to canary
    When "version" is sent 20 times
    Then between 100% and 100% of responses have "version" equal to "stable"
    And the query "sum(istio_requests_total{reporter='destination',destination_workload='order-service-canary'})" is at least 20
