Feature: Payment fails
  A customer must learn that the payment did not go through, and nothing may be ordered.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout
      Content-Type: application/json

      {"sku": "A1", "quantity": 1}
      """
    And the request "orders":
      """
      GET http://order-service/orders/count
      """

  Scenario: Checkout answers clearly when payment is broken
    Given payment-service fails 100% with status 500
    When "checkout" is sent
    Then the response status is 503
    And the response field "error" is "payment_unavailable"
    And the response field "count" of "orders" is unchanged

  Scenario: Checkout answers clearly when payment is broken, from the guide's manifest
    Given the manifest "manifests/examples/payment-fails-500.yaml" is applied
    When "checkout" is sent
    Then the response status is 503
    And the response field "error" is "payment_unavailable"
    And the response field "count" of "orders" is unchanged

  Scenario: Retries hide a flaky payment
    Given payment-service fails 30% with status 503
    When "checkout" is sent 100 times by 5 users
    Then more than 95% of requests succeed

  Scenario: Retries hide a flaky payment, from the guide's manifest
    Given the manifest "manifests/examples/payment-fails-30-percent.yaml" is applied
    When "checkout" is sent 100 times by 5 users
    Then more than 95% of requests succeed

  Scenario: Checkout works again as soon as payment does
    Given payment-service fails 100%
    When "checkout" is sent
    Then the response status is 503
    When payment-service recovers
    And "checkout" is sent
    Then the response field "status" is "confirmed"

  Scenario: Checkout does not wait for a payment that hangs
    Given payment-service is slowed by 5s
    When "checkout" is sent
    Then the response status is 503
    And the response field "error" is "payment_unavailable"
    And the response arrives within 3s
    And the response field "count" of "orders" is unchanged
