package io.kafkasidecar.internal;

import io.kafkasidecar.ProduceException;
import io.kafkasidecar.ProduceException.Kind;
import io.kafkasidecar.Produced;
import io.kafkasidecar.internal.Producing.Waiting;
import io.kafkasidecar.v1.ProduceOutcome;
import io.kafkasidecar.v1.ProduceResponse;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;

/** What the sidecar's answer to a Produce call means, and in which parts a refused call is made again. */
final class Answers {
    private Answers() {}

    static boolean fits(List<Waiting> part, ProduceResponse response) {
        int errors = response.getErrorsCount();
        return response.getOutcomesCount() == part.size()
                && response.getPartitionsCount() == part.size()
                && response.getOffsetsCount() == part.size()
                && (errors == 0 || errors == part.size());
    }

    /** A Produced, or a ProduceException: what became of the record at this index. */
    static Object outcomeOf(
            List<Waiting> part, int at, ProduceResponse response, Throwable error, boolean exactlyOnce) {
        Waiting one = part.get(at);
        if (error != null) {
            boolean large = error instanceof LinkException link && link.tooLarge;
            return new ProduceException(
                    Texts.messageOf(error), one.record().topic(), large ? Kind.TOO_LARGE : Kind.FAILED);
        }
        if (!fits(part, response)) {
            return failed(
                    one, "the sidecar answered for " + response.getOutcomesCount() + " of " + part.size() + " records");
        }
        ProduceOutcome outcome = response.getOutcomes(at);
        if (outcome == ProduceOutcome.PRODUCE_OUTCOME_WRITTEN) {
            return new Produced(one.record().topic(), response.getPartitions(at), response.getOffsets(at));
        }
        if (outcome == ProduceOutcome.PRODUCE_OUTCOME_HELD && exactlyOnce) {
            return new Produced(one.record().topic(), -1, -1);
        }
        String text = response.getErrorsCount() > 0 ? response.getErrors(at) : "";
        Kind kind = switch (outcome) {
            case PRODUCE_OUTCOME_STALE_LEASE -> Kind.STALE_LEASE;
            case PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED -> Kind.NOT_ALLOWED;
            case PRODUCE_OUTCOME_TOO_LARGE -> Kind.TOO_LARGE;
            case PRODUCE_OUTCOME_TOO_MUCH_HELD -> Kind.TOO_MUCH_HELD;
            default -> Kind.FAILED;
        };
        if (text.isEmpty() && kind == Kind.TOO_MUCH_HELD) {
            text = "more would wait for a checkpoint than the sidecar holds; make checkpoints more often";
        }
        return new ProduceException(
                text.isEmpty() ? "the sidecar's answer is " + outcome : text,
                one.record().topic(),
                kind);
    }

    static ProduceException failed(Waiting one, String why) {
        return new ProduceException(why, one.record().topic(), Kind.FAILED);
    }

    static boolean all(ProduceResponse response, Predicate<ProduceOutcome> test) {
        return response.getOutcomesCount() > 0
                && response.getOutcomesList().stream().allMatch(test);
    }

    static Collection<List<Waiting>> byTopic(List<Waiting> part) {
        Map<String, List<Waiting>> topics = new LinkedHashMap<>();
        part.forEach(one -> topics.computeIfAbsent(one.record().topic(), topic -> new ArrayList<>())
                .add(one));
        return topics.values();
    }

    static Collection<List<Waiting>> halves(List<Waiting> part) {
        int middle = part.size() / 2;
        return middle == 0 ? List.of(part) : List.of(part.subList(0, middle), part.subList(middle, part.size()));
    }
}
