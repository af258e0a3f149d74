package io.kafkasidecar.internal;

import io.grpc.ChannelCredentials;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.TlsChannelCredentials;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.netty.channel.EventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.IoHandlerFactory;
import io.grpc.netty.shaded.io.netty.channel.MultiThreadIoEventLoopGroup;
import io.grpc.netty.shaded.io.netty.channel.epoll.Epoll;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollDomainSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollIoHandler;
import io.grpc.netty.shaded.io.netty.channel.epoll.EpollSocketChannel;
import io.grpc.netty.shaded.io.netty.channel.nio.NioIoHandler;
import io.grpc.netty.shaded.io.netty.channel.socket.nio.NioSocketChannel;
import io.kafkasidecar.SettingsException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Pattern;

/**
 * Where the sidecar is, and how to talk to it.
 *
 * @param address {@code host:port} or {@code unix:///path}
 * @param token null: none
 * @param tls null: not encrypted
 */
public record Endpoint(String address, String token, Tls tls) {
    /** The largest message that this client takes. Offer says so, and the sidecar sends no larger one. */
    static final int MAX_MESSAGE_BYTES = 64 << 20;

    private static final int WINDOW_BYTES = 4 << 20;
    /** gRPC sets a TCP option on Unix sockets too, and this logger warns of it at each connection. Kept: or it is lost. */
    private static final Logger BOOTSTRAP = Logger.getLogger("io.grpc.netty.shaded.io.netty.bootstrap.Bootstrap");

    private static final Pattern HOST_PORT = Pattern.compile("(.*):[0-9]{1,5}");

    /** Files of TLS, in PEM. {@code ca} null: the system's authorities. Certificate and key go together, or are null. */
    public record Tls(Path ca, Path certificate, Path key, String name) {}

    /** Checks the settings, so that a mistake is told by its name and not as a failed handshake. */
    public Endpoint {
        if (!address.startsWith("unix:") && !HOST_PORT.matcher(address).matches()) {
            throw new SettingsException("the address " + address + " is neither host:port nor unix:///path");
        }
        if (isUnix(address)) {
            BOOTSTRAP.setLevel(Level.SEVERE);
        }
        if (isUnix(address) && !Epoll.isAvailable()) {
            throw new SettingsException(
                    "the address " + address + " needs Linux (epoll); on other systems dial host:port");
        }
    }

    /** The settings of the environment, over which those that are not null win. */
    public static Endpoint of(String address, String token, Tls tls, Map<String, String> environment) {
        String dialled = address != null ? address : environment.getOrDefault("KAFKA_SIDECAR_ADDRESS", "");
        String secret = token != null ? token : environment.getOrDefault("KAFKA_SIDECAR_TOKEN", "");
        Path ca = path(environment, "KAFKA_SIDECAR_CA");
        Path certificate = path(environment, "KAFKA_SIDECAR_CERT");
        Path key = path(environment, "KAFKA_SIDECAR_KEY");
        boolean asked = ca != null || certificate != null || key != null;
        Tls files = tls != null || !asked ? tls : new Tls(ca, certificate, key, null);
        return new Endpoint(dialled.isEmpty() ? "127.0.0.1:50051" : dialled, secret.isEmpty() ? null : secret, files);
    }

    private static Path path(Map<String, String> environment, String variable) {
        String name = environment.getOrDefault(variable, "");
        return name.isEmpty() ? null : Path.of(name);
    }

    /** The threads for all channels of a client. */
    static EventLoopGroup loops() {
        int threads = Math.min(4, Runtime.getRuntime().availableProcessors());
        IoHandlerFactory handlers = Epoll.isAvailable() ? EpollIoHandler.newFactory() : NioIoHandler.newFactory();
        return new MultiThreadIoEventLoopGroup(threads, Work.daemons("io"), handlers);
    }

    /** Makes a channel with a connection of its own. */
    ManagedChannel channel(EventLoopGroup loops) {
        NettyChannelBuilder builder = NettyChannelBuilder.forTarget(target(), credentials())
                .eventLoopGroup(loops)
                .channelType(
                        isUnix(address)
                                ? EpollDomainSocketChannel.class
                                : Epoll.isAvailable() ? EpollSocketChannel.class : NioSocketChannel.class)
                .directExecutor() // our callbacks do not block; what may, hops to a worker
                .maxInboundMessageSize(MAX_MESSAGE_BYTES)
                // A fixed window: gRPC would measure the line with pings of its own, and servers count those.
                .flowControlWindow(WINDOW_BYTES)
                // gRPC raises the 5 s to 10 s, its least. So `Client` also watches its spare stream.
                .keepAliveTime(5, TimeUnit.SECONDS)
                .keepAliveTimeout(5, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                .disableRetry()
                .disableServiceConfigLookUp()
                .proxyDetector(server -> null); // the sidecar is nearby; a proxy is meant for other calls
        if (tls != null && tls.name != null) {
            builder.overrideAuthority(tls.name);
        } else if (isUnix(address)) {
            builder.overrideAuthority("localhost");
        }
        return builder.build();
    }

    /** The address as gRPC dials it. A sidecar that listens on all interfaces is dialled on loopback. */
    private String target() {
        if (isUnix(address)) {
            return address;
        }
        int colon = address.lastIndexOf(':');
        String port = address.substring(colon);
        return switch (address.substring(0, colon)) {
            case "", "0.0.0.0" -> "dns:///127.0.0.1" + port;
            case "[::]" -> "dns:///[::1]" + port;
            default -> "dns:///" + address;
        };
    }

    private static boolean isUnix(String address) {
        return address.startsWith("unix:");
    }

    private ChannelCredentials credentials() {
        if (tls == null) {
            return InsecureChannelCredentials.create();
        }
        if ((tls.certificate == null) != (tls.key == null)) {
            throw new SettingsException(
                    "a client certificate and its key go together: give KAFKA_SIDECAR_CERT and KAFKA_SIDECAR_KEY");
        }
        TlsChannelCredentials.Builder builder = TlsChannelCredentials.newBuilder();
        try {
            if (tls.ca != null) {
                builder.trustManager(readable(tls.ca).toFile());
            }
            if (tls.certificate != null) {
                pkcs8(tls.key);
                builder.keyManager(readable(tls.certificate).toFile(), tls.key.toFile());
            }
        } catch (IOException error) {
            throw new SettingsException("TLS: a file cannot be used: " + Texts.messageOf(error));
        }
        return builder.build();
    }

    private static Path readable(Path file) {
        if (!Files.isReadable(file)) {
            throw new SettingsException(file + " cannot be read; it has to be a PEM file");
        }
        return file;
    }

    /** Java reads keys in PKCS #8 only, and says so in no clear words. */
    private static void pkcs8(Path key) throws IOException {
        if (!Files.readString(readable(key)).contains("-----BEGIN PRIVATE KEY-----")) {
            throw new SettingsException(key + " is no key in PKCS #8 without a password; make one of it by"
                    + " openssl pkcs8 -topk8 -nocrypt -in " + key.getFileName() + " -out NEW");
        }
    }

    @Override
    public String toString() {
        return "Endpoint[" + address + "]"; // no secrets in logs
    }
}
