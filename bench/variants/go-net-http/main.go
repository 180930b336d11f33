// The server hoplog began as: net/http, a goroutine per request that hands the record to librdkafka
// (confluent-kafka-go) with a second of linger.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

type record struct {
	RuntimeParam  string `json:"runtime_param"`
	AsyncParam    string `json:"async_param"`
	RemoteAddress string `json:"remote_address"`
}

func main() {
	topic := os.Getenv("KAFKA_TOPIC")
	producer, err := kafka.NewProducer(&kafka.ConfigMap{
		"bootstrap.servers":            os.Getenv("KAFKA_BROKERS"),
		"linger.ms":                    1000,
		"acks":                         "all",
		"enable.idempotence":           true,
		"queue.buffering.max.messages": 2000000,
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for event := range producer.Events() {
			if message, ok := event.(*kafka.Message); ok && message.TopicPartition.Error != nil {
				log.Printf("lost a record: %v", message.TopicPartition.Error)
			}
		}
	}()

	produce := func(remoteAddress string) {
		value, _ := json.Marshal(record{"runtimeDataString", "asyncDataString", remoteAddress})
		for {
			err := producer.Produce(&kafka.Message{
				TopicPartition: kafka.TopicPartition{Topic: &topic, Partition: kafka.PartitionAny},
				Value:          value,
			}, nil)
			if err == nil {
				return
			}
			producer.Flush(100) // the queue is full: wait for room, drop nothing
		}
	}

	server := &http.Server{
		Addr: "127.0.0.1:" + os.Getenv("PORT"),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			remoteAddress := r.RemoteAddr
			http.Redirect(w, r, "http://google.com", http.StatusMovedPermanently)
			go produce(remoteAddress)
		}),
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go func() { log.Println(server.ListenAndServe()) }()
	<-stopped
	server.Shutdown(context.Background())
	producer.Flush(10000)
	producer.Close()
}
