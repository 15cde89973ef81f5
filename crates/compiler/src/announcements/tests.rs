use brindle_model::labels::Labels;

use super::*;

/// Everything that announcements follow, for node `n1`.
struct World {
    announcements: Announcements,
    slices: Slices,
    configuration: BgpConfiguration,
    labels: Labels,
}

fn nets(texts: &[&str]) -> Option<Vec<IpNet>> {
    Some(texts.iter().map(|text| text.parse().unwrap()).collect())
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl World {
    fn new() -> Self {
        let configuration = BgpConfiguration {
            service_cluster_ips: nets(&["10.96.0.0/12", "fd96::/112"]),
            service_external_ips: nets(&["198.51.100.0/24", "192.0.2.9/32"]),
            service_load_balancer_ips: nets(&["203.0.113.0/24"]),
            ..BgpConfiguration::default()
        };
        Self {
            announcements: Announcements::default(),
            slices: Slices::default(),
            configuration,
            labels: Labels::default(),
        }
    }

    fn service(&mut self, name: &str, service: Option<Service>) {
        let id = NamespacedName::new("x", name);
        self.announcements.services.note(id, service.map(Arc::new));
    }

    fn slice(&mut self, service: &str, addresses: &[&str], ready_on: &[&str]) {
        let slice = EndpointSlice {
            service: service.into(),
            addresses: self::addresses(addresses),
            ready_on: ready_on.iter().map(|node| Name::from(*node)).collect(),
            ..EndpointSlice::default()
        };
        let family = if addresses[0].contains(':') { "v6" } else { "v4" };
        let id = NamespacedName::new("x", format!("{service}-{family}"));
        self.slices.note(id, Some(Arc::new(slice)));
    }

    /// The prefixes that an advance is about.
    fn advance(&mut self) -> String {
        let node = Node { labels: self.labels.clone(), ..Node::default() };
        let terms = Terms::new([None, Some(&self.configuration)], Some(&node));
        let changed = self.slices.advance();
        let prefixes =
            self.announcements.advance(&"n1".into(), Some(terms), &self.slices, &changed);
        let all = prefixes.iter().map(|prefix| match self.announcements.origin(prefix) {
            Some(_) => format!("+{prefix}"),
            None => format!("-{prefix}"),
        });
        all.collect::<Vec<_>>().join(" ")
    }

    fn remark(&self, address: &str) -> Option<String> {
        let prefix = IpNet::from(address.parse::<IpAddr>().unwrap());
        self.announcements.remark(&"n1".into(), &self.slices, &prefix)
    }
}

const RANGES: &str = "+10.96.0.0/12 +198.51.100.0/24 +203.0.113.0/24 +fd96::/112";

fn web(local: bool) -> Service {
    Service {
        cluster_ips: addresses(&["10.96.0.7", "fd96::7"]),
        external_ips: addresses(&["198.51.100.7", "192.0.2.9", "192.0.2.10"]),
        load_balancer_ips: addresses(&["203.0.113.7"]),
        internal_local: local,
        external_local: local,
    }
}

#[test]
fn ranges_are_announced_whole_and_a_single_address_with_its_service() {
    let mut world = World::new();
    assert_eq!(world.advance(), RANGES, "192.0.2.9/32 waits for a Service");
    world.service("web", Some(web(false)));
    assert_eq!(world.advance(), "+192.0.2.9/32", "wherever its endpoints are");
    world.service("web", None);
    assert_eq!(world.advance(), "-192.0.2.9/32");
}

#[test]
fn addresses_of_local_services_follow_their_last_ready_endpoint() {
    let mut world = World::new();
    world.service("web", Some(web(true)));
    world.slice("web", &["10.65.0.1", "10.66.0.1"], &["n2"]);
    assert_eq!(world.advance(), RANGES, "its endpoints are elsewhere");
    let v4 = "10.96.0.7/32 192.0.2.9/32 198.51.100.7/32 203.0.113.7/32";
    let signed = |sign: &str| v4.split(' ').map(|p| format!("{sign}{p}")).collect::<Vec<_>>();
    world.slice("web", &["10.65.0.1", "10.66.0.1"], &["n1", "n2"]);
    assert_eq!(world.advance(), signed("+").join(" "), "of IPv4 only: IPv6 has no endpoint");
    world.slice("web", &["fd65::1"], &["n1"]);
    assert_eq!(world.advance(), "+fd96::7/128");
    world.slice("web", &["10.65.0.1", "10.66.0.1"], &["n2"]);
    assert_eq!(world.advance(), signed("-").join(" "));
    world.slice("web", &["fd65::1"], &[]);
    assert_eq!(world.advance(), "-fd96::7/128");
}

#[test]
fn each_traffic_policy_is_about_its_own_addresses() {
    let mut world = World::new();
    world.slice("web", &["10.65.0.1"], &["n1"]);
    world.service("web", Some(Service { internal_local: false, ..web(true) }));
    assert_eq!(
        world.advance(),
        "+10.96.0.0/12 +192.0.2.9/32 +198.51.100.0/24 +198.51.100.7/32 +203.0.113.0/24 \
         +203.0.113.7/32 +fd96::/112"
    );
    world.service("web", Some(Service { external_local: false, ..web(true) }));
    assert_eq!(world.advance(), "+10.96.0.7/32 -198.51.100.7/32 -203.0.113.7/32");
}

#[test]
fn without_aggregation_load_balancer_addresses_are_announced_one_by_one() {
    let mut world = World::new();
    world.service("web", Some(web(false)));
    world.advance();
    world.configuration.service_load_balancer_aggregation = Some(false);
    assert_eq!(world.advance(), "-203.0.113.0/24 +203.0.113.7/32");
    world.service("web", Some(web(true)));
    assert_eq!(world.advance(), "-192.0.2.9/32 -203.0.113.7/32", "no endpoint is here");
}

#[test]
fn an_address_of_two_services_stays_until_both_are_gone() {
    let mut world = World::new();
    for name in ["api", "web"] {
        world.service(name, Some(web(true)));
        world.slice(name, &["10.65.0.1"], &["n1"]);
    }
    world.advance();
    let shared = "203.0.113.7/32".parse().unwrap();
    let origin = world.announcements.origin(&shared).unwrap();
    assert_eq!(origin.to_string(), "an address of Service x/api and 1 more");
    world.slice("api", &["10.65.0.1"], &[]);
    assert!(world.advance().contains("+203.0.113.7/32"), "of web alone now");
    world.service("web", None);
    assert!(world.advance().contains("-203.0.113.7/32"));
}

#[test]
fn an_excluded_node_announces_nothing_of_it() {
    let mut world = World::new();
    world.service("web", Some(web(true)));
    world.slice("web", &["10.65.0.1"], &["n1"]);
    world.advance();
    world.labels = [(EXCLUDED, "")].into_iter().collect();
    let gone = world.advance();
    assert!(gone.contains("-10.96.0.0/12") && gone.contains("-203.0.113.7/32"), "{gone}");
    assert!(!gone.contains('+'), "{gone}");
    assert!(world.remark("203.0.113.7").unwrap().contains("this node is excluded by its label"));
}

#[test]
fn what_is_not_announced_by_itself_has_a_reason() {
    let mut world = World::new();
    world.service("web", Some(web(true)));
    world.advance();
    let remark = |world: &World, address| world.remark(address).unwrap_or_default();
    assert_eq!(
        remark(&world, "203.0.113.7"),
        "203.0.113.7 is a load balancer IP of Service x/web with externalTrafficPolicy Local, and \
         this node has no ready endpoint of it"
    );
    assert_eq!(
        remark(&world, "192.0.2.10"),
        "192.0.2.10 is an external IP of Service x/web, and no range of a BGPConfiguration contains it"
    );
    world.service("web", Some(web(false)));
    world.advance();
    assert_eq!(
        remark(&world, "10.96.0.7"),
        "10.96.0.7 is a cluster IP of Service x/web; 10.96.0.0/12 is announced for it"
    );
    assert_eq!(world.remark("192.0.2.9"), None, "it is announced");
    assert_eq!(world.remark("10.96.0.8"), None, "nobody has it");
}
