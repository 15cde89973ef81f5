//! The CNI server's view of links and routes: [`PodNetwork`](core::PodNetwork) makes the pair, the
//! route table's owner makes the routes to it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use brindle_dataplane_core as core;
use brindle_dataplane_core::{
    Attachment, DriverSender, PodNetworkError, RouteInput, RouteTable, Uplink, UplinkError,
};
use brindle_model::Name;
use brindle_model::net::Family;

use crate::cni_server::ports::{AttachRequest, Attached, PodNetwork, PodRoute};

/// How long an uplink's MTU is believed.
const MTU_AGE: Duration = Duration::from_secs(10);

/// Makes and removes pod links.
pub struct Links {
    routes: DriverSender<RouteTable>,
    mtu: Mutex<Option<(Instant, u32)>>,
}

/// Why a link could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Links, addresses, neighbours.
    #[error("could not {0} the pod's interface")]
    PodNetwork(&'static str, #[source] PodNetworkError),
    /// Without an uplink there is no MTU.
    #[error("could not find the node's uplink, whose MTU pods take")]
    Uplink(#[source] UplinkError),
    /// The route table's owner is gone.
    #[error("could not add the routes to the pod")]
    Routes(#[source] core::Stopped),
}

impl Links {
    /// Links whose routes this route table makes.
    pub fn new(routes: DriverSender<RouteTable>) -> Self {
        Self { routes, mtu: Mutex::new(None) }
    }

    /// The smaller MTU of the uplinks of both families.
    fn mtu(&self) -> Result<u32, LinkError> {
        let cached = || self.mtu.lock().unwrap_or_else(PoisonError::into_inner);
        let known = *cached();
        if let Some((at, mtu)) = known
            && at.elapsed() < MTU_AGE
        {
            return Ok(mtu);
        }
        let uplinks = Family::ALL.map(Uplink::detect);
        let mtu = match uplinks {
            [Ok(v4), Ok(v6)] => v4.mtu.min(v6.mtu),
            [Ok(uplink), Err(_)] | [Err(_), Ok(uplink)] => uplink.mtu,
            [Err(error), Err(_)] => return Err(LinkError::Uplink(error)),
        };
        *cached() = Some((Instant::now(), mtu));
        Ok(mtu)
    }

    fn attachment<'a>(&self, request: &AttachRequest<'a>) -> Result<Attachment<'a>, LinkError> {
        Ok(Attachment {
            netns: request.netns,
            interface: request.interface,
            host_interface: request.host_interface,
            addresses: request.addresses,
            mtu: match request.mtu {
                Some(mtu) => mtu,
                None => self.mtu()?,
            },
        })
    }
}

impl PodNetwork for Links {
    type Error = LinkError;

    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, LinkError> {
        let attachment = self.attachment(request)?;
        let made = core::PodNetwork
            .attach(&attachment)
            .map_err(|error| LinkError::PodNetwork("make", error))?;
        let route = |route: core::PodRoute| PodRoute {
            destination: route.destination,
            gateway: route.gateway,
        };
        Ok(Attached {
            host_mac: made.host_mac.to_string(),
            pod_mac: made.pod_mac.to_string(),
            mtu: attachment.mtu,
            routes: made.routes.into_iter().map(route).collect(),
        })
    }

    fn enable(&self, host_interface: &str, addresses: &[IpAddr]) -> Result<(), LinkError> {
        core::PodNetwork
            .enable(host_interface, addresses)
            .map_err(|error| LinkError::PodNetwork("enable", error))?;
        // The answer comes after the commit that made the routes.
        self.routes
            .send(RouteInput::InterfaceUp(host_interface.into()))
            .and_then(|()| self.routes.inspect(|_: &RouteTable| ()))
            .map_err(LinkError::Routes)
    }

    fn mark(&self, host_interface: &str) -> Result<(), LinkError> {
        core::PodNetwork.mark(host_interface).map_err(|error| LinkError::PodNetwork("mark", error))
    }

    fn detach(&self, host_interface: &str) -> Result<(), LinkError> {
        core::PodNetwork
            .detach(host_interface)
            .map_err(|error| LinkError::PodNetwork("remove", error))
    }

    fn check(&self, request: &AttachRequest<'_>) -> Result<(), LinkError> {
        let attachment = self.attachment(request)?;
        core::PodNetwork
            .check(&attachment)
            .map_err(|error| LinkError::PodNetwork("find in order", error))
    }

    fn host_interfaces(&self) -> Result<BTreeSet<Name>, LinkError> {
        core::PodNetwork.host_interfaces().map_err(|error| LinkError::PodNetwork("list", error))
    }
}
