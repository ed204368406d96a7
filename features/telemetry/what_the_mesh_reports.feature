Feature: What the mesh reports
  Whoever is on call looks at the mesh's own metrics, logs and traces; they have to be there and to be right.

  Background:
    Given the request "checkout":
      """
      POST http://order-service/checkout

      {"sku": "A1", "quantity": 1}
      """

  Scenario: Requests are counted by caller and callee
    When "checkout" is sent 10 times
    Then the mesh reports at least 10 requests from client to order-service
    And the mesh reports at least 10 requests from order-service to payment-service

  Scenario: Failing calls are in the access log
    Given payment-service fails 100% with status 500
      | inject at | server |
    And the request "charge":
      """
      POST http://payment-service/charge

      {"sku": "A1", "quantity": 1}
      """
    When "charge" is sent 5 times
    Then every response has status 500
    And the access log of payment-service has at least 5 requests with status 500

  Scenario: Calls that succeed are in the access log
    When "checkout" is sent 5 times
    Then the access log of payment-service has at least 5 requests with status 200

  Scenario: A trace can be followed through every service
    When "checkout" is sent 5 times
    Then the trace context reaches order-service
    And the trace context reaches payment-service
    And the trace context reaches inventory-service
    And the trace context reaches notification-service

  @istio
  Scenario: Prometheus knows the requests
    When "checkout" is sent 10 times
    Then the query "sum(istio_requests_total{reporter="destination",destination_service="payment-service.shop.svc.cluster.local"})" is at least 10
    And the query "sum(istio_requests_total{destination_service_name="payment-service",response_code="200"})" is at least 10

  @istio
  Scenario: Every service's own metrics reach Prometheus
    When "checkout" is sent 10 times
    Then the query "count(count by (destination_service_name) (istio_requests_total{reporter="destination"}))" is at least 4 within 20s

  @istio
  Scenario: Latency is in a histogram
    When "checkout" is sent 10 times
    Then the query "histogram_quantile(0.99, sum by (le) (istio_request_duration_milliseconds_bucket{destination_service_name="payment-service"}))" is at most 1000

  @linkerd
  Scenario: Prometheus knows the responses by caller and callee
    When "checkout" is sent 10 times
    Then the query "sum(response_total{direction="inbound",pod=~"payment-service-.+",client_id=~"order-service[.].*"})" is at least 10
    And the query "sum(response_total{direction="outbound",dst_service="payment-service",status_code="200"})" is at least 10

  @linkerd
  Scenario: Latency is in a histogram of responses
    When "checkout" is sent 10 times
    Then the query "histogram_quantile(0.99, sum by (le) (response_latency_ms_bucket{direction="outbound",dst_service="payment-service"}))" is at most 1000

  @linkerd
  Scenario: Every service's responses reach Prometheus
    When "checkout" is sent 10 times
    Then the query "count(count by (service) (label_replace(response_total{direction="inbound"},"service","$1","pod","(.+-service)-.+")))" is at least 4 within 20s
