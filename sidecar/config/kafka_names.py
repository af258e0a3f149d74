"""Names of librdkafka properties: those that the sidecar sets itself, and those that consumers use."""

from collections.abc import Mapping

_COMMITS = "the sidecar commits what a lambda has checkpointed and nothing else; lambdas.X.checkpoint says how often"
CALLBACK = "a callback cannot be given in a config file"
OWNED: Mapping[str, str] = {
    "auto.offset.reset": "use lambdas.X.start, and lambdas.X.on_offset_lost for an offset that is gone",
    "group.id": "use lambdas.X.group",
    "enable.auto.commit": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.commit.interval.ms": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "offset.store.method": _COMMITS,
    "offset.store.path": _COMMITS,
    "offset.store.sync.interval.ms": _COMMITS,
    "enable.partition.eof": "the sidecar does not use it",
    "metadata.broker.list": "use bootstrap.servers",
    "default.topic.config": "write its properties directly below kafka",
    "logger": CALLBACK,
    "on_commit": CALLBACK,
    "on_delivery": CALLBACK,
    "opaque": CALLBACK,
    "enabled_events": CALLBACK,
}
"""Properties that the sidecar sets itself, each with what to use instead."""

_DESERIALIZED = "leave it out: a lambda gets keys and values as bytes"
_TRUST = "use ssl.ca.location with a PEM file"
_KEYSTORE = "use ssl.certificate.location and ssl.key.location with PEM files"
JAVA: Mapping[str, str] = {
    "key.deserializer": _DESERIALIZED,
    "value.deserializer": _DESERIALIZED,
    "key.serializer": _DESERIALIZED,
    "value.serializer": _DESERIALIZED,
    "max.poll.records": "use lambdas.X.frame.records",
    "sasl.jaas.config": "use sasl.username and sasl.password",
    "sasl.client.callback.handler.class": "use the sasl.oauthbearer properties",
    "sasl.login.callback.handler.class": "use the sasl.oauthbearer properties",
    "ssl.truststore.location": _TRUST,
    "ssl.truststore.password": _TRUST,
    "ssl.truststore.type": _TRUST,
    "ssl.keystore.type": _KEYSTORE,
}
"""Properties of Kafka's Java client that people bring along, each with what to use instead."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "security.protocol": ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"),
    "isolation.level": ("read_uncommitted", "read_committed"),
    "group.protocol": ("classic", "consumer"),
}
"""All values of some properties: librdkafka does not name them when it refuses another."""

FILES = frozenset(
    {
        *("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.keystore.location"),
        *("ssl.crl.location", "sasl.kerberos.keytab"),
    }
)
"""Properties that name a file: of a missing one, librdkafka says nothing that people understand."""

OFTEN_USED = tuple(
    """
    allow.auto.create.topics api.version.request bootstrap.servers broker.address.family broker.address.ttl
    check.crcs client.dns.lookup client.id client.rack connections.max.idle.ms debug
    enable.ssl.certificate.verification fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes
    fetch.min.bytes fetch.queue.backoff.ms fetch.wait.max.ms group.instance.id group.protocol
    group.remote.assignor heartbeat.interval.ms isolation.level log.connection.close log_level
    max.partition.fetch.bytes max.poll.interval.ms message.max.bytes metadata.max.age.ms
    metadata.recovery.strategy partition.assignment.strategy queued.max.messages.kbytes queued.min.messages
    receive.message.max.bytes reconnect.backoff.max.ms reconnect.backoff.ms retry.backoff.max.ms
    retry.backoff.ms sasl.kerberos.keytab sasl.kerberos.principal sasl.kerberos.service.name
    sasl.mechanism sasl.mechanisms sasl.oauthbearer.client.id sasl.oauthbearer.client.secret
    sasl.oauthbearer.config sasl.oauthbearer.extensions sasl.oauthbearer.method sasl.oauthbearer.scope
    sasl.oauthbearer.token.endpoint.url sasl.password sasl.username security.protocol session.timeout.ms
    socket.connection.setup.timeout.ms socket.keepalive.enable socket.max.fails socket.nagle.disable
    socket.receive.buffer.bytes socket.send.buffer.bytes socket.timeout.ms ssl.ca.location ssl.ca.pem
    ssl.certificate.location ssl.certificate.pem ssl.cipher.suites ssl.crl.location ssl.curves.list
    ssl.endpoint.identification.algorithm ssl.key.location ssl.key.password ssl.key.pem
    ssl.keystore.location ssl.keystore.password ssl.sigalgs.list statistics.interval.ms
    topic.blacklist topic.metadata.refresh.interval.ms
    """.split()  # noqa: SIM905 - one name a line would be a page
)
"""For `did you mean` only: librdkafka itself decides which names are properties."""

SHARED = (
    *("api.version.", "bootstrap.servers", "broker.", "client.", "connections.", "debug", "enable.ssl.", "log_level"),
    *("https.", "metadata.", "receive.message.", "reconnect.", "retry.", "sasl.", "security.", "socket.", "ssl."),
    "topic.metadata.",
)
"""Prefixes of the properties that consumers and producers have in common."""
