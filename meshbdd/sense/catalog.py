"""Every check, by code. docs/checks.md is this list; a test holds the two together."""

from __future__ import annotations

from meshbdd.sense.finding import Check, Severity

_E, _W, _I = Severity.ERROR, Severity.WARNING, Severity.INFO

# What a route refers to
UNKNOWN_HOST = Check("MB0901", _E, "a route leads to a host that does not exist", "correct the host", ("IST0101",))
UNKNOWN_PORT = Check(
    "MB0902", _E, "a route leads to a port that its service does not have", "name a port of the service", ("IST0101",)
)
UNKNOWN_SUBSET = Check(
    "MB0903", _E, "a route leads to a subset that no DestinationRule defines", "define the subset first", ("IST0101",)
)
UNKNOWN_GATEWAY = Check("MB0904", _E, "the gateway does not exist", "correct the gateway's name", ("IST0101",))
NOT_IN_GATEWAY = Check(
    "MB0905", _W, "the gateway does not serve the host", "add the host to a server of the gateway", ("IST0132",)
)
UNKNOWN_ROUTED_HOST = Check("MB0906", _W, "rules are for a host that no service has", "correct the host")
UNKNOWN_DELEGATE = Check(
    "MB0907",
    _E,
    "the delegate does not exist",
    "apply the delegate first or in the same manifest, or correct its name and namespace",
)
PORT_NEEDED = Check(
    "MB0908",
    _E,
    "a route from a gateway names no port of a service that has several",
    "name the destination's port",
    ("IST0112",),
)
WILDCARD_ON_MESH = Check(
    "MB0909", _E, 'hosts "*" on the mesh: Istio refuses it', "name hosts, or bind it to a gateway", ("IST0106",)
)

# Which rules are in force
TWO_FOR_A_HOST = Check("MB0910", _E, "two VirtualServices for one host", "merge the two into one object", ("IST0109",))
SHADOWED = Check("MB0911", _W, "a private VirtualService hides the public one", "merge the two, or name other hosts")
UNREACHABLE = Check(
    "MB0912", _W, "a rule that no request reaches", "move it before the rule that takes its requests", ("IST0130",)
)
INEFFECTIVE_MATCH = Check(
    "MB0913", _I, "a match that an earlier rule takes already", "take the match out", ("IST0131",)
)
WEIGHTS = Check("MB0914", _W, "weights that are no percentages", "let the weights add up to 100")
NO_HTTP = Check(
    "MB0915", _E, "HTTP rules for a port that is not HTTP", "name the port http-… or set its appProtocol to http"
)
NO_SUCH_CALLER = Check("MB0916", _W, "a rule for callers that do not exist", "correct sourceLabels or sourceNamespace")

# Faults, retries and time
FAULT_AND_RETRIES = Check(
    "MB0920", _W, "a fault beside retries on one rule", "let a step inject it at the server: | inject at | server |"
)
DELAY_AND_TIMEOUT = Check(
    "MB0921", _W, "a delay beside a timeout on one rule", "let a step inject it at the server: | inject at | server |"
)
NO_SHARE = Check("MB0922", _E, "a fault without a percentage hits nothing", "add percentage: {value: 100}")
NO_FAULT = Check("MB0923", _E, "a fault that does nothing", "say the status or the delay")
FAULT_BESIDE_BREAKER = Check(
    "MB0924",
    _W,
    "aborts that the circuit breaker never sees",
    "let a step inject it at the server: | inject at | server |",
)
TRIES_BEYOND_TIMEOUT = Check(
    "MB0925", _W, "tries that the timeout cuts off", "raise timeout, or lower attempts or perTryTimeout"
)
UNNOTICED_DELAY = Check("MB0926", _W, "a delay that nobody's timeout notices", "delay by more than the timeout")
THIN_COUNT = Check(
    "MB0927", _W, "a count of requests that cannot carry its claim", 'write: enough "…" requests are sent'
)
GRPC_FAULT_OF_HTTP = Check(
    "MB0928", _W, "a gRPC status for requests that are no gRPC", "let them fail with an HTTP status, or send gRPC calls"
)

# DestinationRules
UNKNOWN_RULED_HOST = Check(
    "MB0930", _W, "a DestinationRule for a host that does not exist", "correct the host", ("IST0174",)
)
EMPTY_SUBSET = Check("MB0931", _W, "a subset that selects no pods", "correct the labels of the subset", ("IST0173",))
ROUTE_TO_EMPTY_SUBSET = Check(
    "MB0932", _E, "requests are sent to a subset without pods", "start pods with the subset's labels first"
)
TWO_DESTINATION_RULES = Check("MB0933", _W, "two DestinationRules for one host", "merge the two into one object")
NEVER_EJECTS = Check("MB0934", _W, "a circuit breaker that can never open", "set maxEjectionPercent")
DETECTION_OFF = Check("MB0935", _W, "outlier detection that detects nothing", "set consecutive5xxErrors")
PLAINTEXT_TO_STRICT = Check(
    "MB0936",
    _E,
    "clients are told to send what a STRICT server refuses",
    "take the tls block out: mutual TLS is automatic",
)
TLS_TO_PLAINTEXT = Check(
    "MB0937", _E, "clients are told to use mutual TLS with a server that has none", "take the tls block out"
)
NO_CA = Check("MB0938", _W, "TLS that does not verify the server", "set caCertificates", ("IST0128", "IST0129"))
NEVER_CONSULTED = Check(
    "MB0939", _W, "a DestinationRule in a namespace where nobody looks", "move it to the service's namespace"
)
UNKNOWN_RULED_PORT = Check(
    "MB0940", _W, "settings for a port that the service does not have", "name a port of the service"
)
UNUSED_SUBSET_POLICY = Check(
    "MB0941", _I, "a subset's policy that no route uses", "route to the subset, or move the policy up"
)
SUBSET_NOT_FOR_ALL = Check(
    "MB0942", _W, "a subset that some callers of its route do not have", "export the rule that defines it to them"
)

# What policies select
SELECTS_NOTHING = Check(
    "MB0950", _W, "a selector that matches no pod", "correct the labels", ("IST0127", "IST0101", "IST0166")
)
SERVICE_SELECTS_NOTHING = Check("MB0951", _W, "a Service that selects no pod", "correct the Service's selector")
IGNORED_IN_ROOT = Check(
    "MB0952",
    _W,
    "a policy with a selector in the root namespace, which Istio ignores",
    "move it to the pods' namespace",
)
TWO_POLICIES = Check("MB0953", _W, "two PeerAuthentications for the same pods", "merge the two into one object")
NOT_A_WORKLOAD_PORT = Check(
    "MB0954", _W, "a policy for a Service's port, where it takes the container's", "name the port of the container"
)
UNKNOWN_NAMESPACE = Check(
    "MB0955", _E, "a policy about a namespace that does not exist", "correct the namespace", ("IST0101",)
)
UNKNOWN_PRINCIPAL = Check("MB0956", _W, "a principal that nobody has", "write cluster.local/ns/NAMESPACE/sa/ACCOUNT")
NEVER_MATCHES = Check("MB0957", _W, "a rule that matches no request", "correct the value")

# Services and pods
NOT_INJECTED = Check(
    "MB0960",
    _I,
    "a namespace whose pods get no sidecar",
    "label the namespace istio-injection=enabled, or =disabled",
    ("IST0102",),
)
TWO_INJECTION_LABELS = Check(
    "MB0961", _W, "a namespace with two injection labels", "keep one of istio-injection and istio.io/rev", ("IST0123",)
)
NO_SIDECAR = Check(
    "MB0962", _W, "a pod without a sidecar in a namespace with injection", "start the pod anew", ("IST0103",)
)
PORT_NAME = Check(
    "MB0963", _I, "a port that does not say its protocol", "name the port http-… or set its appProtocol", ("IST0118",)
)
NO_TARGET_PORT = Check("MB0964", _W, "a target port that no container has", "correct targetPort")
TWO_PROTOCOLS = Check(
    "MB0965", _W, "two Services that speak of one container port differently", "declare one protocol", ("IST0116",)
)
PROXYS_USER = Check(
    "MB0966", _W, "an application that runs as the sidecar's own user", "run it as another user and group", ("IST0144",)
)
AUTO_NOT_INJECTED = Check(
    "MB0967",
    _W,
    "image: auto for pods that get no sidecar",
    'label the template sidecar.istio.io/inject: "true", in a namespace without istio-injection=disabled',
    ("IST0146",),
)
AUTO_REMAINED = Check(
    "MB0968",
    _E,
    "a pod that exists with image: auto",
    "see that its namespace and its labels ask for injection, then create it anew",
    ("IST0147",),
)

# Sidecar
HIDES = Check("MB0970", _W, "a Sidecar that hides the destination", "add the destination to egress.hosts")
EGRESS_MATCHES_NOTHING = Check(
    "MB0971", _W, "an egress host that is no service", "write NAMESPACE/FULL.NAME or NAMESPACE/*"
)
TWO_SIDECARS = Check(
    "MB0972", _E, "two Sidecars for the same pods", "merge the two into one object", ("IST0110", "IST0111")
)

# Telemetry
TWO_NAMESPACE_WIDE = Check(
    "MB0974", _E, "two Telemetries for a whole namespace", "merge the two into one object", ("IST0160",)
)
TWO_TELEMETRIES = Check(
    "MB0975", _E, "two Telemetries for the same pods", "merge the two into one object", ("IST0159",)
)
UNKNOWN_PROVIDER = Check(
    "MB0976", _W, "a provider that the mesh does not have", "add it to extensionProviders of the mesh configuration"
)
NO_PROVIDER = Check(
    "MB0977",
    _W,
    "access logs without a provider, which Istio ignores",
    "name one: providers: [{name: envoy}]",
    ("IST0157",),
)

# EnvoyFilter
RELATIVE = Check(
    "MB0980", _W, "an order that is left to chance", "set priority, or use INSERT_FIRST", ("IST0151", "IST0155")
)
IGNORED_OPERATION = Check(
    "MB0981", _E, "an operation that Istio ignores there", "use another operation", ("IST0152", "IST0153", "IST0154")
)
BAD_VALUE = Check("MB0982", _E, "a value that Envoy does not take", "correct the value", ("IST0133",))
BEHIND_ROUTER = Check(
    "MB0983", _E, "a filter behind the router, which Envoy refuses", "use INSERT_FIRST or INSERT_BEFORE"
)
NOT_A_LISTENER_PORT = Check("MB0984", _W, "a patch for a port on which no pod listens", "name the container's port")
NO_SUCH_FILTER = Check("MB0985", _W, "a patch beside a filter that is not there", "correct the name of the subFilter")

# Annotations
MISPLACED_ANNOTATION = Check(
    "MB0986", _W, "an annotation of Istio's on a kind where it does nothing", "move it to where it counts", ("IST0107",)
)
UNKNOWN_ANNOTATION = Check(
    "MB0987", _W, "an annotation that Istio does not have", "correct its name, or leave it out", ("IST0108",)
)

# Linkerd
NOT_READ = Check(
    "MB0993", _W, "a field of a route that Linkerd does not read", "write the annotation of Linkerd's that says it"
)

NOT_A_TIMEOUT = Check(
    "MB0994",
    _W,
    "a timeout of a route that Linkerd takes for none",
    "write one whole number and its unit: 500ms, 90s, 2m",
)
LIMIT_ALONE = Check(
    "MB0995", _W, "a limit of retries without anything that is retried", "write the statuses beside it that are retried"
)

# From the command
WOULD_BE_REFUSED = Check("MB0990", _E, "an object that Istio or the API refuses", "correct the field", ("IST0106",))
UNKNOWN_KIND = Check(
    "MB0991", _W, "an object of a kind that nobody knows", "correct kind and apiVersion, or leave it out"
)

CHECKS: tuple[Check, ...] = tuple(sorted((c for c in globals().values() if isinstance(c, Check)), key=lambda c: c.code))
