/** Unit tests of lambdas, without Kafka and without a sidecar. */
package io.kafkasidecar.testing;
