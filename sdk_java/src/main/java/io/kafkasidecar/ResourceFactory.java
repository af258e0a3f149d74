package io.kafkasidecar;

/**
 * Loads what all partitions of a process share, such as a pool of database connections.
 *
 * @param <R> the resources; an {@link AutoCloseable} is closed when the process ends
 */
@FunctionalInterface
public interface ResourceFactory<R> {
    /**
     * Loads the resources, once in a process. The process gets no partition before this returns.
     *
     * @param settings the lambda's settings, from the sidecar's config and the environment
     * @return the resources
     * @throws Exception ends the process
     */
    R create(Settings settings) throws Exception;
}
