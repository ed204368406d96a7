Feature: Faults that hit only some calls
  A fault can be for one caller, one method, one path or one header; everybody else is served.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge":
      """
      POST http://payment-service/charge
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge as qa":
      """
      POST http://payment-service/charge
      Content-Type: application/json
      X-User: qa

      {"sku": "A1", "quantity": 1}
      """
    And the request "health":
      """
      GET http://payment-service/healthz
      """

  Scenario: A fault for one caller
    Given payment-service fails 100%
      | called by | order-service |
    When "checkout" is sent
    Then the response status is 503
    When "charge" is sent
    Then the response status is 200

  Scenario: A fault for one header
    Given payment-service fails 100% with status 500
      | header X-User | qa |
    When "charge as qa" is sent
    Then the response status is 500
    When "charge" is sent
    Then the response status is 200

  Scenario: A fault for another method leaves this one alone
    Given payment-service fails 100%
      | method | GET |
    When "health" is sent
    Then the response status is 503
    When "charge" is sent
    Then the response status is 200

  Scenario: A fault for one path
    Given payment-service fails 100%
      | path | /charge |
    When "charge" is sent
    Then the response status is 503
    When "health" is sent
    Then the response status is 200
