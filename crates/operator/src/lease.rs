//! Who leads: a Lease that its holder renews.
//!
//! Clocks of nodes are not compared: a candidate takes a Lease over that *it* has not seen renewed
//! for as long as the Lease lasts, and writes only over the `resourceVersion` that it has read. A
//! holder that could not renew for less than that time stops to lead.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

/// The Lease's name.
const NAME: &str = "brindle-operator";
/// How long a Lease lasts that is not renewed.
const LASTS: Duration = Duration::from_secs(15);
/// When a holder that cannot renew gives up: well before others may take over.
const GIVE_UP: Duration = Duration::from_secs(10);
/// Pause between two renewals, and between two looks of a candidate.
const PERIOD: Duration = Duration::from_secs(3);

/// A candidate, or the holder.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    /// The Lease as last read, and since when it has been so.
    seen: Option<(Lease, Instant)>,
}

impl Candidate {
    /// A candidate of this name.
    pub fn new(client: Client, namespace: &str, identity: &str) -> Self {
        let leases = Api::namespaced(client, namespace);
        Self { leases, identity: identity.to_owned(), seen: None }
    }

    /// Waits until this candidate leads.
    pub async fn win(&mut self) {
        let mut told = false;
        loop {
            match timeout(GIVE_UP, self.attempt()).await {
                Ok(Ok(true)) => {
                    info!("leading");
                    return;
                }
                Ok(Ok(false)) => debug!("another operator leads"),
                Ok(Err(error)) if !told => {
                    told = true;
                    warn!(%error, "cannot take the lease; trying again");
                }
                Ok(Err(error)) => debug!(%error, "cannot take the lease"),
                Err(_) => debug!("no answer in time"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews for as long as that works; returns when it has not for too long, or somebody else holds
    /// the Lease.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            let left = (renewed + GIVE_UP).saturating_duration_since(Instant::now());
            let started = Instant::now();
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = started,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => warn!(%error, "cannot renew the lease"),
                Err(_) => return,
            }
        }
    }

    /// Gives the Lease up, so that the next one need not wait.
    pub async fn release(&mut self) {
        let Some((mut lease, _)) = self.seen.take().filter(|(l, _)| self.is_holder(l)) else {
            return;
        };
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
        }
        let params = PostParams::default();
        // Others wait a little longer if it fails.
        match timeout(PERIOD, self.leases.replace(NAME, &params, &lease)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(%error, "cannot give the lease up"),
            Err(_) => debug!("cannot give the lease up in time"),
        }
    }

    /// One look, and a write if it is this candidate's turn. Whether it holds the Lease then.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let params = PostParams::default();
        let Some(found) = self.leases.get_opt(NAME).await? else {
            let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return self.wrote(self.leases.create(&params, &lease).await);
        };
        let now = Instant::now();
        let unchanged = self.seen.as_ref().filter(|(seen, _)| seen.spec == found.spec);
        let since = unchanged.map_or(now, |(_, since)| *since);
        self.seen = Some((found.clone(), since));
        let spec = found.spec.clone().unwrap_or_default();
        let lasts = spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
        let lasts = lasts.map_or(LASTS, Duration::from_secs);
        let held = spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
        if held && !self.is_holder(&found) && now < since + lasts {
            return Ok(false);
        }
        let lease = Lease { spec: Some(self.spec(Some(&spec))), ..found };
        self.wrote(self.leases.replace(NAME, &params, &lease).await)
    }

    fn wrote(&mut self, answer: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
        match answer {
            Ok(lease) => {
                self.seen = Some((lease, Instant::now()));
                Ok(true)
            }
            // Somebody was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_holder(&self, lease: &Lease) -> bool {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        holder == Some(&self.identity)
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = before.filter(|b| b.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.map_or(0, |b| b.lease_transitions.unwrap_or_default());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LASTS.as_secs()).ok(),
            acquire_time: ours.map_or(Some(now.clone()), |ours| ours.acquire_time.clone()),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(before.is_some() && ours.is_none())),
            ..LeaseSpec::default()
        }
    }
}
