//! The node's own interfaces, as inputs of the compiler: by their addresses host endpoints are found
//! (C34), and one that names an interface is told whether there is such.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use brindle_dataplane_core::netlink::{Connection, NetlinkError};
use brindle_model::Name;
use brindle_model::cluster::{HOST_INTERFACE_PREFIX, Update};
use brindle_model::host::HostLink;

/// What was told last.
#[derive(Default)]
pub struct HostLinks(BTreeMap<Name, Arc<HostLink>>);

impl HostLinks {
    /// Reads the interfaces of the calling thread's network namespace, but for those of pods;
    /// returns what is new.
    ///
    /// # Errors
    /// The kernel could not be asked; nothing is new then.
    pub fn read(&mut self) -> Result<Vec<Update>, NetlinkError> {
        let mut connection = Connection::open()?;
        let mut addresses: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for (index, net) in connection.global_addresses()? {
            addresses.entry(index).or_default().push(net.addr());
        }
        let mut now = BTreeMap::new();
        for link in connection.links()? {
            if !link.name.starts_with(HOST_INTERFACE_PREFIX) {
                let mut addresses = addresses.remove(&link.index).unwrap_or_default();
                addresses.sort_unstable();
                now.insert(Name::from(&*link.name), Arc::new(HostLink { addresses }));
            }
        }
        let before = std::mem::replace(&mut self.0, now);
        let gone = before.keys().filter(|name| !self.0.contains_key(*name));
        let gone = gone.map(|name| Update::HostLink(name.clone(), None));
        let new = self.0.iter().filter(|(name, link)| before.get(*name) != Some(*link));
        let new = new.map(|(name, link)| Update::HostLink(name.clone(), Some(link.clone())));
        Ok(gone.chain(new).collect())
    }
}
