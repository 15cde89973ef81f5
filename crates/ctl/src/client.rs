//! HTTP over the agent's unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use brindle_model::admin::{Failure, Synced};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Longest wait for an answer beyond what the request itself waits for.
const TIMEOUT: Duration = Duration::from_secs(10);

/// One agent's admin API.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the agent behind `socket`. Connects with each request.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// The agent does not answer, refuses, or answers something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.request(Method::GET, path, Bytes::new(), TIMEOUT)
    }

    /// Asks with a document for one.
    ///
    /// # Errors
    /// The agent does not answer, refuses, or answers something else.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let body = serde_json::to_vec(body).context("cannot write the question")?;
        self.request(Method::POST, path, body.into(), TIMEOUT)
    }

    /// Waits until everything written to the source before is enforced.
    ///
    /// # Errors
    /// It is not within `timeout` seconds; the agent's reason is given.
    pub fn sync(&self, timeout: f64) -> Result<Synced> {
        let wait = Duration::try_from_secs_f64(timeout).context("--timeout")?;
        let path = format!("/sync?timeout={timeout}");
        self.request(Method::POST, &path, Bytes::new(), wait.saturating_add(TIMEOUT))
    }

    /// Hands over an answer without end as it comes, until the agent closes it.
    ///
    /// # Errors
    /// The agent does not answer or refuses, or `take` fails.
    pub fn stream(&self, path: &str, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let whole = async {
            let stream = UnixStream::connect(&self.socket).await.context("is it running here?")?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            // It fails when the agent closes, and so does the body then.
            let connection = tokio::spawn(connection);
            let response = sender.send_request(get(path)?).await?;
            let status = response.status();
            let mut body = response.into_body();
            if status != StatusCode::OK {
                let body = body.collect().await?.to_bytes();
                return Err(refusal(status, &body, path));
            }
            while let Some(frame) = body.frame().await {
                if let Some(octets) = frame?.data_ref() {
                    take(octets)?;
                }
            }
            connection.abort();
            Ok(())
        };
        runtime
            .block_on(whole)
            .with_context(|| format!("cannot follow the agent at {}", self.socket.display()))
    }

    fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exchange = async {
            tokio::time::timeout(timeout, self.exchange(method, path, body))
                .await
                .map_err(|_| anyhow!("no answer within {} s", timeout.as_secs()))?
        };
        let (status, body) = runtime
            .block_on(exchange)
            .with_context(|| format!("cannot ask the agent at {}", self.socket.display()))?;
        if status != StatusCode::OK {
            return Err(refusal(status, &body, path));
        }
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer to {path} is not as expected"))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket).await.context("is it running here?")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "agent")
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            drop(sender);
            anyhow::Ok((status, body))
        };
        let (closed, answer) = tokio::join!(connection, answer);
        // The answer is whole; how the agent closes is its business.
        answer.or_else(|error| closed.map_err(Into::into).and_then(|()| Err(error)))
    }
}

fn get(path: &str) -> Result<Request<Empty<Bytes>>> {
    let request = Request::builder().uri(path).header(hyper::header::HOST, "agent");
    Ok(request.body(Empty::new())?)
}

/// What the agent says in place of an answer.
fn refusal(status: StatusCode, body: &[u8], path: &str) -> Error {
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => anyhow!("the agent says: {}", failure.error),
        Err(_) => anyhow!("the agent answers {status} to {path}"),
    }
}
