//! Address families: which pairs of AFI and SAFI this speaker carries.

use std::fmt;

use ipnet::IpNet;

/// An AFI/SAFI pair as it stands on the wire (RFC 4760 §3); a peer may name any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AfiSafi {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
}

/// A family this speaker carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

/// AFI of IPv4.
pub const AFI_IPV4: u16 = 1;
/// AFI of IPv6.
pub const AFI_IPV6: u16 = 2;
/// SAFI of unicast forwarding.
pub const SAFI_UNICAST: u8 = 1;

impl Family {
    /// Both families, in wire order.
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The family of a prefix.
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Self::Ipv4Unicast,
            IpNet::V6(_) => Self::Ipv6Unicast,
        }
    }

    /// The pair as it stands on the wire.
    pub fn afi_safi(self) -> AfiSafi {
        let afi = match self {
            Self::Ipv4Unicast => AFI_IPV4,
            Self::Ipv6Unicast => AFI_IPV6,
        };
        AfiSafi { afi, safi: SAFI_UNICAST }
    }
}

impl AfiSafi {
    /// The family, if this speaker carries it.
    pub fn family(self) -> Option<Family> {
        Family::ALL.into_iter().find(|family| family.afi_safi() == self)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4Unicast => "ipv4 unicast",
            Self::Ipv6Unicast => "ipv6 unicast",
        })
    }
}

/// A set of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilySet {
    ipv4: bool,
    ipv6: bool,
}

impl FamilySet {
    /// Both families.
    pub const ALL: Self = Self { ipv4: true, ipv6: true };
    /// No family.
    pub const NONE: Self = Self { ipv4: false, ipv6: false };

    /// Whether the set holds this family.
    pub fn contains(self, family: Family) -> bool {
        match family {
            Family::Ipv4Unicast => self.ipv4,
            Family::Ipv6Unicast => self.ipv6,
        }
    }

    /// Adds a family.
    pub fn insert(&mut self, family: Family) {
        *self.slot(family) = true;
    }

    /// Removes a family.
    pub fn remove(&mut self, family: Family) {
        *self.slot(family) = false;
    }

    /// The families of the set, in wire order.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }

    /// Whether the set holds nothing.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    fn slot(&mut self, family: Family) -> &mut bool {
        match family {
            Family::Ipv4Unicast => &mut self.ipv4,
            Family::Ipv6Unicast => &mut self.ipv6,
        }
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<T: IntoIterator<Item = Family>>(families: T) -> Self {
        let mut set = Self::NONE;
        families.into_iter().for_each(|family| set.insert(family));
        set
    }
}
