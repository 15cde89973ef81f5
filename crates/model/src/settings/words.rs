//! Settings that are one of a few words.

use std::fmt;

/// A choice that has a name in objects and a word on the command line.
pub trait Word: Copy + Eq + Send + Sync + 'static {
    /// Every choice.
    const ALL: &'static [Self];

    /// As objects spell it: `IptablesNft`.
    fn name(self) -> &'static str;

    /// As the command line spells it: `iptables-nft`.
    fn word(self) -> &'static str;
}

macro_rules! words {
    (
        $(#[$doc:meta])*
        $type:ident { $($(#[$choice_doc:meta])* $choice:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$choice_doc])* $choice,)+
        }

        impl Word for $type {
            const ALL: &'static [Self] = &[$(Self::$choice,)+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$choice => stringify!($choice),)+
                }
            }

            fn word(self) -> &'static str {
                match self {
                    $(Self::$choice => $word,)+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What becomes of connections that policy does not admit any more (K33).
    ExistingConnections {
        /// They are judged again and stop within a second.
        Reevaluate = "reevaluate",
        /// They go on until they end.
        Keep = "keep",
    }
}

words! {
    /// What becomes of packets from pods to their node, after egress policy (K30, C40).
    EndpointToHost {
        /// They arrive.
        Accept = "accept",
        /// They are dropped.
        Drop = "drop",
    }
}

words! {
    /// A way of the kernel to filter.
    Dataplane {
        /// nftables if a trial works, else iptables.
        Auto = "auto",
        /// nf_tables.
        Nftables = "nftables",
        /// iptables, in the variant that the node uses.
        Iptables = "iptables",
        /// iptables whose rules live in nf_tables.
        IptablesNft = "iptables-nft",
        /// iptables whose rules live in ip_tables.
        IptablesLegacy = "iptables-legacy",
    }
}

words! {
    /// Where the jumps to our chains stand in FORWARD, INPUT and others of iptables.
    IptablesJump {
        /// Before all other rules.
        Insert = "insert",
        /// Behind those that are there, whose ACCEPT then goes past policy.
        Append = "append",
    }
}
