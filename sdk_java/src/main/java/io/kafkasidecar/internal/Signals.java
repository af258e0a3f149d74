package io.kafkasidecar.internal;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;

/**
 * Handles SIGTERM and SIGINT without the JVM's own way, which is to run the shutdown hooks and to end with 143: a hook
 * cannot change that code, except by halting the JVM under the other hooks. Here a signal begins the drain, {@code main}
 * returns, and the JVM ends as any program does: with 0, after all hooks.
 *
 * <p>Java has no public API for signals. {@code sun.misc.Signal} of the module {@code jdk.unsupported} is the one that
 * servers use; it is called by reflection, since the compiler warns of it. Where it is missing, a shutdown hook drains
 * all the same, and the exit code is the JVM's.
 */
public final class Signals {
    private Signals() {}

    /** Calls {@code action} at the first signal; a second one ends the process at once. Returns whether that works. */
    public static boolean onTerm(Runnable action) {
        try {
            Class<?> signal = Class.forName("sun.misc.Signal");
            Class<?> handler = Class.forName("sun.misc.SignalHandler");
            boolean[] came = new boolean[1];
            Object ours = Proxy.newProxyInstance(
                    Signals.class.getClassLoader(), new Class<?>[] {handler}, (proxy, method, arguments) -> {
                        if (method.getName().equals("handle")) {
                            handle(came, (int) signal.getMethod("getNumber").invoke(arguments[0]), action);
                            return null;
                        }
                        return method.getName().equals("hashCode") ? (Object) System.identityHashCode(proxy) : null;
                    });
            for (String name : new String[] {"TERM", "INT"}) {
                Object one = signal.getConstructor(String.class).newInstance(name);
                signal.getMethod("handle", signal, handler).invoke(null, one, ours);
            }
            return true;
        } catch (ReflectiveOperationException | RuntimeException missing) {
            return false;
        }
    }

    private static void handle(boolean[] came, int number, Runnable action) throws InvocationTargetException {
        synchronized (came) {
            if (came[0]) {
                Runtime.getRuntime().halt(128 + number);
            }
            came[0] = true;
        }
        action.run();
    }
}
