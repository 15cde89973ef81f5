//! The objects of one resource, listed and watched for as long as anybody listens.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt;
use kube::api::{ListParams, WatchParams};
use kube::core::response::Status;
use kube::core::{Request, WatchEvent};
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Longest a watch lasts before the server ends it, seconds; servers may be set to less.
const WATCH: u32 = 290;
/// Longest silence of a live watch: servers send a bookmark about once a minute. After that the
/// connection counts as dead.
const SILENCE: Duration = Duration::from_secs(150);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest pause between two tries, doubled by chance at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// The same for a resource that the server does not have yet: its definition is being installed.
const SOON_PAUSE: Duration = Duration::from_secs(1);
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// Marks the bookmark after the last object of a streamed list.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// For whoever follows resources, which it tells apart by `K`.
#[derive(Debug)]
pub enum Message<K> {
    /// News of a resource.
    Told(K, Told),
    /// End.
    Stop,
}

/// What a watch tells of its resource.
#[derive(Debug)]
pub enum Told {
    /// A list begins: what it does not name before `Listed` is gone.
    Listing,
    /// This object is so now.
    Object(Value),
    /// This object is gone.
    Deleted(Value),
    /// The list is complete, as of this `resourceVersion`; empty if there is no such resource.
    Listed(String),
}

/// What a [`Watch`] follows.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The path of all objects, such as `/api/v1/nodes`.
    pub path: String,
    /// Only those with these labels.
    pub labels: Option<String>,
    /// Whether their metadata is all that is read.
    pub metadata_only: bool,
    /// Whether the server will have the resource soon, if it does not now.
    pub comes_soon: bool,
}

/// Follows one resource.
pub struct Watch<K> {
    client: Client,
    kind: K,
    listing: Listing,
    request: Request,
    sender: mpsc::Sender<Message<K>>,
    /// The version of the objects that has been told whole.
    position: Option<String>,
    /// Whether the server streams lists, as far as is known.
    streams_lists: bool,
    /// Whether the last answer was that there is no such kind.
    absent: bool,
    /// Whether the last request brought anything.
    heard: bool,
}

/// Why a request ended.
pub(super) enum End {
    /// The server has ended the watch, as it does after a time.
    Ended,
    /// The server has forgotten the position.
    Expired,
    /// The server does not stream lists.
    NoStream,
    /// The server has no such kind.
    Absent,
    /// The server was silent for too long.
    Silent,
    /// Anything else.
    Failed(Error),
    /// Nobody listens any more.
    Unheard,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    #[serde(default)]
    items: Vec<Value>,
}

/// A list that is read page by page.
pub(super) struct Pages {
    request: Request,
    metadata_only: bool,
    params: ListParams,
}

impl Pages {
    /// From the first page on.
    pub fn new(listing: &Listing) -> Self {
        let mut params = ListParams::default().limit(PAGE);
        if let Some(labels) = &listing.labels {
            params = params.labels(labels);
        }
        let request = Request::new(&listing.path);
        Self { request, metadata_only: listing.metadata_only, params }
    }

    /// The objects of the next page; behind the last one, the version of the whole list.
    ///
    /// # Errors
    /// See [`End`].
    pub async fn next(&mut self, client: &Client) -> Result<(Vec<Value>, Option<String>), End> {
        let request = if self.metadata_only {
            self.request.list_metadata(&self.params)
        } else {
            self.request.list(&self.params)
        };
        let request = request.map_err(|error| End::Failed(Error::BuildRequest(error)))?;
        let Page { metadata, items } = answer(client.request::<Page>(request)).await?;
        match metadata.next.filter(|next| !next.is_empty()) {
            Some(next) => {
                self.params = std::mem::take(&mut self.params).continue_token(&next);
                Ok((items, None))
            }
            None => Ok((items, Some(metadata.resource_version))),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

impl<K: Copy + fmt::Display> Watch<K> {
    /// A watch that tells `sender`, and calls what it tells of `kind`.
    pub fn new(
        client: Client,
        kind: K,
        listing: Listing,
        sender: mpsc::Sender<Message<K>>,
    ) -> Self {
        Self {
            client,
            kind,
            request: Request::new(&listing.path),
            listing,
            sender,
            position: None,
            streams_lists: true,
            absent: false,
            heard: false,
        }
    }

    /// Runs until nobody listens.
    pub async fn run(mut self) {
        let mut failures = 0;
        loop {
            self.heard = false;
            let result = if self.position.is_some() || self.streams_lists {
                self.stream().await
            } else {
                self.list().await
            };
            let absent = std::mem::take(&mut self.absent);
            failures = if self.heard { 0 } else { failures };
            let Err(end) = result else { continue };
            let mut longest = LONGEST_PAUSE;
            match end {
                End::Unheard => return,
                End::Ended => {}
                End::Expired => self.position = None,
                End::NoStream => self.streams_lists = false,
                End::Absent => {
                    self.absent = true;
                    if self.listing.comes_soon {
                        longest = SOON_PAUSE;
                    }
                    // Told twice in a row, so that a server on its way up is not believed at once.
                    if absent && self.tell_absent().await.is_err() {
                        return;
                    }
                }
                End::Silent => self.complain(failures, &"no answer in time"),
                End::Failed(error) => self.complain(failures, &error),
            }
            sleep(pause(failures, longest)).await;
            failures += 1;
        }
    }

    fn complain(&self, failures: u32, error: &dyn std::fmt::Display) {
        // Once a streak: the server may be away for hours, and there are many kinds.
        if failures == 0 {
            tracing::warn!(kind = %self.kind, %error, "cannot follow; trying again");
        } else {
            tracing::debug!(kind = %self.kind, %error, failures, "cannot follow");
        }
    }

    /// Watches from the position, or from nothing with a list before.
    async fn stream(&mut self) -> Result<(), End> {
        let mut params = WatchParams::default().timeout(WATCH);
        if self.position.is_none() {
            params = params.initial_events();
        }
        if let Some(labels) = &self.listing.labels {
            params = params.labels(labels);
        }
        let version = self.position.as_deref().unwrap_or_default();
        let request = if self.listing.metadata_only {
            self.request.watch_metadata(&params, version)
        } else {
            self.request.watch(&params, version)
        };
        let request = request.map_err(|error| End::Failed(Error::BuildRequest(error)))?;
        let events = answer(self.client.request_events::<Value>(request)).await?;
        let mut events = pin!(events);
        if self.position.is_none() {
            self.tell(Told::Listing).await?;
        }
        loop {
            let event = timeout(SILENCE, events.try_next()).await.map_err(|_| End::Silent)?;
            let Some(event) = event.map_err(End::from)? else { return Err(End::Ended) };
            self.heard = true;
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    self.advance(&object);
                    self.tell(Told::Object(object)).await?;
                }
                WatchEvent::Deleted(object) => {
                    self.advance(&object);
                    self.tell(Told::Deleted(object)).await?;
                }
                WatchEvent::Bookmark(bookmark) => {
                    let ends = bookmark.metadata.annotations.contains_key(LIST_ENDS);
                    if self.position.is_none() && ends {
                        let version = bookmark.metadata.resource_version;
                        self.tell(Told::Listed(version.clone())).await?;
                        self.position = Some(version);
                    } else if let Some(position) = &mut self.position {
                        *position = bookmark.metadata.resource_version;
                    }
                }
                WatchEvent::Error(status) => return Err(End::from(Error::Api(status))),
            }
        }
    }

    /// Lists in pages.
    async fn list(&mut self) -> Result<(), End> {
        self.tell(Told::Listing).await?;
        let mut pages = Pages::new(&self.listing);
        loop {
            let (objects, version) = pages.next(&self.client).await?;
            self.heard = true;
            for object in objects {
                self.tell(Told::Object(object)).await?;
            }
            if let Some(version) = version {
                self.tell(Told::Listed(version.clone())).await?;
                self.position = Some(version);
                return Ok(());
            }
        }
    }

    /// The position is that of the last event. Before a streamed list is complete there is none.
    fn advance(&mut self, object: &Value) {
        let version = object["metadata"]["resourceVersion"].as_str();
        if let Some((position, version)) = self.position.as_mut().zip(version) {
            version.clone_into(position);
        }
    }

    async fn tell_absent(&mut self) -> Result<(), End> {
        self.position = None;
        self.tell(Told::Listing).await?;
        self.tell(Told::Listed(String::new())).await
    }

    async fn tell(&self, told: Told) -> Result<(), End> {
        let message = Message::Told(self.kind, told);
        self.sender.send(message).await.map_err(|_| End::Unheard)
    }
}

async fn answer<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, End> {
    Ok(timeout(ANSWER, request).await.map_err(|_| End::Silent)??)
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match &error {
            Error::Api(status) if status.code == 410 => Self::Expired,
            Error::Api(status) if status.code == 404 => Self::Absent,
            Error::Api(status) if refuses_stream(status) => Self::NoStream,
            _ => Self::Failed(error),
        }
    }
}

/// Whether the server has the streaming of lists switched off.
fn refuses_stream(status: &Status) -> bool {
    status.code == 422 && status.message.contains("sendInitialEvents")
}

/// How long to wait after so many failures in a row: about 100 ms at first, twice as long each
/// time up to `longest`, and each time up to twice that by chance.
fn pause(failures: u32, longest: Duration) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    let base = FIRST.saturating_mul(1 << failures.min(16)).min(longest);
    let chance = RandomState::new().hash_one(failures) % 1000;
    base + base.mul_f64(chance as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_at_most() {
        for failures in [0, 1, 5, 9, 20, u32::MAX] {
            let pause = pause(failures, LONGEST_PAUSE);
            assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_secs(30));
        }
        assert!(pause(20, LONGEST_PAUSE) >= Duration::from_secs(15));
    }
}
