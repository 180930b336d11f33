//! hyper on one thread and librdkafka: what a server costs whose HTTP is compiled. The record is made by
//! hand and handed to librdkafka's queue, with a second of linger.

use std::convert::Infallible;
use std::env;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

type Kafka = ThreadedProducer<DefaultProducerContext>;

fn produce(producer: &Kafka, topic: &str, remote: SocketAddr) {
    let value = format!(
        r#"{{"runtime_param":"runtimeDataString","async_param":"asyncDataString","remote_address":"{remote}"}}"#
    );
    let mut record = BaseRecord::<(), String>::to(topic).payload(&value);
    while let Err((error, rejected)) = producer.send(record) {
        match error {
            // Full: wait for room, drop nothing.
            KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => {
                std::thread::sleep(Duration::from_millis(10));
                record = rejected;
            }
            error => panic!("a record was refused: {error}"),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let topic: Rc<str> = env::var("KAFKA_TOPIC").expect("KAFKA_TOPIC").into();
    let producer: Kafka = ClientConfig::new()
        .set("bootstrap.servers", env::var("KAFKA_BROKERS").expect("KAFKA_BROKERS"))
        .set("linger.ms", "1000")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "2000000")
        .create()
        .expect("a producer");
    let port: u16 = env::var("PORT").expect("PORT").parse().expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM");
    let local = tokio::task::LocalSet::new();
    let serving = producer.clone();
    let serve = async move {
        loop {
            let (stream, remote) = listener.accept().await.expect("a connection");
            let _ = stream.set_nodelay(true);
            let producer = serving.clone();
            let topic = topic.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(move |_request: Request<Incoming>| {
                    produce(&producer, &topic, remote);
                    let mut response = Response::new(Empty::<Bytes>::new());
                    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
                    let location = HeaderValue::from_static("http://google.com");
                    response.headers_mut().insert(LOCATION, location);
                    async move { Ok::<_, Infallible>(response) }
                });
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    };
    local
        .run_until(async {
            tokio::select! {
                () = serve => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    producer.flush(Duration::from_secs(10)).expect("all delivered");
}
