//! What any backend must do.

use brindle_dataplane_core::conformance::conformance;
use brindle_dataplane_iptables::{Iptables, Options, Variant};

use crate::namespace::{TABLES, isolated, listing, programs, run};

fn conforms(variant: Variant) {
    isolated(|| {
        conformance(
            || Iptables::open(variant, Options::default()).expect("the programs are there"),
            || listing(variant),
            || {
                for program in programs(variant, "") {
                    for table in TABLES {
                        run(&program, &["-t", table, "-F"]);
                    }
                }
                run("ipset", &["flush"]);
            },
        );
    });
}

#[test]
fn iptables_nft_conforms() {
    conforms(Variant::Nft);
}

#[test]
fn iptables_legacy_conforms() {
    conforms(Variant::Legacy);
}
