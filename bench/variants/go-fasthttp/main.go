// fasthttp and franz-go: the fastest pair in Go. The record is made by hand, as a fast Go server would.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/valyala/fasthttp"
)

const head = `{"runtime_param":"runtimeDataString","async_param":"asyncDataString","remote_address":"`

func main() {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA_BROKERS")),
		kgo.DefaultProduceTopic(os.Getenv("KAFKA_TOPIC")),
		kgo.ProducerLinger(time.Second),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.MaxBufferedRecords(2000000),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		log.Fatal(err)
	}
	acknowledged := func(_ *kgo.Record, err error) {
		if err != nil {
			log.Printf("lost a record: %v", err)
		}
	}
	server := &fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			remoteAddress := ctx.RemoteAddr().String()
			value := make([]byte, 0, len(head)+len(remoteAddress)+2)
			value = append(value, head...)
			value = append(value, remoteAddress...)
			value = append(value, `"}`...)
			// By hand: fasthttp's own Redirect writes a trailing slash.
			ctx.Response.Header.Set("Location", "http://google.com")
			ctx.SetStatusCode(fasthttp.StatusMovedPermanently)
			client.Produce(context.Background(), &kgo.Record{Value: value}, acknowledged)
		},
	}
	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, syscall.SIGTERM)
	go func() { log.Println(server.ListenAndServe("127.0.0.1:" + os.Getenv("PORT"))) }()
	<-stopped
	server.Shutdown()
	client.Flush(context.Background())
	client.Close()
}
