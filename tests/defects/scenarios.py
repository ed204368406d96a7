"""Names of scenarios that more than one defect turns red."""

BROKEN = "Checkout answers clearly when payment is broken"
BROKEN_MANIFEST = f"{BROKEN}, from the guide's manifest"
FLAKY = "Retries hide a flaky payment"
FLAKY_MANIFEST = f"{FLAKY}, from the guide's manifest"
FLAKY_ENOUGH = f"{FLAKY}, by as many requests as it takes"
HANGS = "Checkout does not wait for a payment that hangs"
PATIENCE = "The shop's own patience with payment is bounded"
AGAIN = "Checkout works again as soon as payment does"
SLOW = "Checkout gives up on a slow inventory"
SLOW_MANIFEST = f"{SLOW}, from the guide's manifest"
MUTUAL = "Services speak mutual TLS to each other"
STRICT_TEAM = "The team's own strict policy leaves no service open"
ONE_CALLER = "A fault for one caller"
ONLY = "Only order-service may charge"
ONLY_TEAM = f"{ONLY}, by the team's own policy"
TEAM_BREAKER = "The team's own breaker opens, and closes again"
TEST_PORT = "Test data comes from outside, through one port that is left permissive"
TRIES_MANIFEST = "A timeout for each try is multiplied by the tries, by the team's own manifest"
LIFETIME = "No certificate is about to end"
RENEWED = "Certificates are renewed under load without a failed request"
STRICT = "Under strict mutual TLS the shop works, and plaintext is rejected"
BOUNDED = "The shop's own retries are bounded"
TRACE = "A trace can be followed through every service"
COUNTED = "Requests are counted by caller and callee"
RETRIED = "The mesh retries a payment that fails"
IN_TIME = "The mesh gives up on a slow payment in time"
ALL_TRIES = "One timeout bounds all tries together"
HIDDEN = "Retries of the mesh hide a flaky payment"
HIDDEN_GRPC = f"{HIDDEN} by gRPC"
CYCLE = "The circuit opens, tries again, and closes when payment is well again"
FAILS_FAST = "An open circuit fails fast"
CLOSED = "After the circuit has closed, payments go through"
FEW_ERRORS = "A few errors do not open the circuit"
TENTH = "A tenth of the customers see the canary"
ALL_STABLE = "All traffic goes to the stable version"
COPY = "The canary gets a copy, and the customer the stable answer"
CANARY_MANIFEST = "A canary gets its share, from the guide's manifest"
IN_THE_MESH = "Every service of the shop is in the mesh"
BACK = "A service that is down takes no connection, until it is back"
START = "The sidecar hardly delays a new pod"
SMALL_PAGE = "The sidecar hardly slows a small page"
TURNED_AWAY = "A client outside the mesh is turned away under strict mutual TLS"
ANSWERED = "A client outside the mesh is answered while mutual TLS is permissive"
DATA_TURNED_AWAY = "Test data from outside is turned away under strict mutual TLS"
TEST_SERVICE = "Test data comes from outside, through one service that is left permissive"
TEST_CLIENT = "Test data comes from a client in the mesh, and nothing is left open"
LOGGED = "Calls that succeed are in the access log"
FAILURES_LOGGED = "Failing calls are in the access log"
SCRAPED = "Every service's own metrics reach Prometheus"
SCRAPED_LINKERD = "Every service's responses reach Prometheus"
QUERIED = "Prometheus knows the requests"
QUERIED_LINKERD = "Prometheus knows the responses by caller and callee"
LATENCY = "Latency is in a histogram"
LATENCY_LINKERD = "Latency is in a histogram of responses"
LIMITED = "Requests beyond the limit are turned away at once"
GRPC_AT_SERVER = "A gRPC fault at the server is in its access log"
AT_SERVER = frozenset(
    {
        *(
            ALL_TRIES,
            BOUNDED,
            CLOSED,
            CYCLE,
            FAILS_FAST,
            FAILURES_LOGGED,
            FEW_ERRORS,
            GRPC_AT_SERVER,
            HIDDEN,
            HIDDEN_GRPC,
        ),
        *(IN_TIME, LIMITED, RETRIED, TEAM_BREAKER, TRIES_MANIFEST),
    }
)
"""Scenarios whose fault has to go to the inbound side of payment-service, for their claims to mean something."""
