Feature: Mutual TLS and who may call whom
  Nobody listens in, and nobody calls who may not.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      """
    And the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Under strict mutual TLS the shop works, and plaintext is rejected
    Given mutual TLS is strict
    When "checkout" is sent 5 times
    Then every response has status 200
    And calls from order-service to payment-service use mutual TLS
    And payment-service rejects plaintext
    And order-service rejects plaintext

  Scenario: The team's own strict policy leaves no service open
    Given the manifest "manifests/examples/strict-mutual-tls.yaml" is applied
    When "checkout" is sent 5 times
    Then every response has status 200
    And payment-service rejects plaintext
    And order-service rejects plaintext

  Scenario: A client outside the mesh is turned away under strict mutual TLS
    Given mutual TLS is strict for payment-service
    When "charge" is sent from outside the mesh
    Then the request is turned away

  Scenario: A client outside the mesh is answered while mutual TLS is permissive
    Given mutual TLS is strict
    Then payment-service rejects plaintext
    When mutual TLS is permissive
    And "charge" is sent from outside the mesh
    Then the response status is 200

  Scenario: Only order-service may charge
    Given only order-service may call payment-service
    When "charge" is sent
    Then the request is denied
    When "checkout" is sent
    Then the response status is 200

  Scenario: Only order-service may charge, by the team's own policy
    Given the manifest "manifests/examples/payment-access.yaml" is applied
    When "charge" is sent
    Then the request is denied
    When "checkout" is sent
    Then the response status is 200

  Scenario: Certificates are renewed under load without a failed request
    Given the request "notify":
      """
      POST http://notification-service/notify

      {"order_id": "1"}
      """
    When "notify" keeps being sent at 20/s
    Then the certificate of notification-service rotates within 15s
    When the load stops
    Then every response has status 200
