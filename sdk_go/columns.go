package sidecar

import (
	pb "kafka-sidecar.example/sdk_go/protocol"
)

// produceRequest makes the columns of these records. A column that would say nothing is left out.
func produceRequest(lease string, batch []*Delivery) *pb.ProduceRequest {
	request := &pb.ProduceRequest{Lease: lease, Values: make([][]byte, len(batch))}
	indexes, topics := make([]uint32, len(batch)), map[string]uint32{}
	for i, delivery := range batch {
		topic := delivery.output.Topic
		index, known := topics[topic]
		if !known {
			index = uint32(len(request.Topics))
			topics[topic] = index
			request.Topics = append(request.Topics, topic)
		}
		indexes[i] = index
		if request.Values[i] = delivery.output.Value; delivery.output.Value == nil {
			request.NullValues = append(request.NullValues, uint32(i))
		}
	}
	if len(topics) > 1 {
		request.TopicIndexes = indexes
	}
	addKeys(request, batch)
	addPartitions(request, batch)
	addSources(request, batch)
	addHeaders(request, batch)
	return request
}

// addKeys adds both columns of keys, or neither: null_keys needs keys.
func addKeys(request *pb.ProduceRequest, batch []*Delivery) {
	keys := make([][]byte, len(batch))
	var nulls []uint32
	for i, delivery := range batch {
		if keys[i] = delivery.output.Key; keys[i] == nil {
			nulls = append(nulls, uint32(i))
		}
	}
	if len(nulls) < len(batch) {
		request.Keys, request.NullKeys = keys, nulls
	}
}

func addPartitions(request *pb.ProduceRequest, batch []*Delivery) {
	partitions, any := make([]int32, len(batch)), false
	for i, delivery := range batch {
		partitions[i] = -1
		if chosen := delivery.output.Partition; chosen != nil {
			partitions[i], any = *chosen, true
		}
	}
	if any {
		request.Partitions = partitions
	}
}

func addSources(request *pb.ProduceRequest, batch []*Delivery) {
	sources, any := make([]int64, len(batch)), false
	for i, delivery := range batch {
		sources[i] = none
		if source := delivery.output.Source; source != nil {
			sources[i], any = *source, true
		}
	}
	if any && batch[0].lease.exactlyOnce {
		request.Sources = sources
	}
}

func addHeaders(request *pb.ProduceRequest, batch []*Delivery) {
	counts := make([]uint32, len(batch))
	for i, delivery := range batch {
		counts[i] = uint32(len(delivery.output.Headers))
		for _, header := range delivery.output.Headers {
			if header.Value == nil {
				request.NullHeaderValues = append(request.NullHeaderValues, uint32(len(request.HeaderValues)))
			}
			request.HeaderNames = append(request.HeaderNames, []byte(header.Name))
			request.HeaderValues = append(request.HeaderValues, header.Value)
		}
	}
	if len(request.HeaderNames) > 0 {
		request.HeaderCounts = counts
	}
}

// all reports whether every record has this outcome.
func all(response *pb.ProduceResponse, outcome pb.ProduceOutcome) bool {
	for _, one := range response.Outcomes {
		if one != outcome {
			return false
		}
	}
	return len(response.Outcomes) > 0
}

// outcomesOf reads the columns of a response that fits the records.
func outcomesOf(batch []*Delivery, response *pb.ProduceResponse) []outcome {
	found := make([]outcome, len(batch))
	for i, delivery := range batch {
		topic, kind := delivery.output.Topic, ProduceFailed
		switch response.Outcomes[i] {
		case pb.ProduceOutcome_PRODUCE_OUTCOME_WRITTEN:
			found[i].produced = Produced{topic, response.Partitions[i], response.Offsets[i]}
			continue
		case pb.ProduceOutcome_PRODUCE_OUTCOME_HELD:
			if delivery.lease.exactlyOnce {
				found[i].produced = Produced{topic, -1, -1}
				continue
			}
		case pb.ProduceOutcome_PRODUCE_OUTCOME_TOO_LARGE:
			kind = ProduceTooLarge
		case pb.ProduceOutcome_PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED:
			kind = ProduceNotAllowed
		case pb.ProduceOutcome_PRODUCE_OUTCOME_STALE_LEASE:
			kind = ProduceStaleLease
		case pb.ProduceOutcome_PRODUCE_OUTCOME_TOO_MUCH_HELD:
			kind = ProduceTooMuchHeld
		}
		reason := "the sidecar's answer is " + response.Outcomes[i].String()
		if kind == ProduceTooMuchHeld {
			reason = "more would wait for a checkpoint than the sidecar holds; make checkpoints more often"
		}
		if len(response.Errors) > 0 && response.Errors[i] != "" {
			reason = response.Errors[i]
		}
		found[i].err = &ProduceError{topic, kind, reason}
	}
	return found
}

func allFailed(batch []*Delivery, kind ProduceFailure, reason string) []outcome {
	found := make([]outcome, len(batch))
	for i, delivery := range batch {
		found[i].err = &ProduceError{delivery.output.Topic, kind, reason}
	}
	return found
}

// byTopic are the records of each topic, in their order.
func byTopic(batch []*Delivery) [][]*Delivery {
	var parts [][]*Delivery
	index := map[string]int{}
	for _, delivery := range batch {
		topic := delivery.output.Topic
		if _, known := index[topic]; !known {
			index[topic] = len(parts)
			parts = append(parts, nil)
		}
		parts[index[topic]] = append(parts[index[topic]], delivery)
	}
	return parts
}
