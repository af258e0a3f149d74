package io.kafkasidecar;

/**
 * Makes the lambda of each partition that this process gets.
 *
 * @param <R> what all partitions of the process share, as {@link ResourceFactory} made it
 */
@FunctionalInterface
public interface LambdaFactory<R> {
    /**
     * Makes the lambda of one partition, in the partition's thread, within the 60 s that the sidecar waits.
     *
     * @param resources what all partitions share
     * @param partition what the lambda can say about its partition
     * @return the lambda; never null
     * @throws Exception the sidecar tries again after a back-off
     */
    Lambda create(R resources, Partition partition) throws Exception;
}
