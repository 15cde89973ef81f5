//! Messages of nfnetlink_log (`linux/netfilter/nfnetlink_log.h`).

use super::{Event, Report, packet};
use crate::nfnetlink::{NFGENMSG, be32, find, messages, text};

/// Subsystem number (`NFNL_SUBSYS_ULOG`), as the high byte of a message's type.
pub(super) const SUBSYSTEM: u16 = 4 << 8;
const MSG_PACKET: u16 = 0;

const PACKET_HDR: u16 = 1;
const IFINDEX_INDEV: u16 = 4;
const IFINDEX_OUTDEV: u16 = 5;
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const SEQ: u16 = 12;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The kernel counts what it tells; a gap is what could not be delivered.
    pub sequence: Option<u32>,
    /// The packet; `None` if the rule that logged it is not ours.
    pub report: Option<Report>,
}

/// Reads a datagram. Any bytes are legal: what is malformed or something else is left out.
pub fn decode(datagram: &[u8]) -> impl Iterator<Item = Told> {
    messages(datagram).filter(|message| message.kind == SUBSYSTEM | MSG_PACKET).filter_map(
        |message| {
            let body = message.payload.get(NFGENMSG..)?;
            let number = |kind| find(body, kind).and_then(be32);
            Some(Told { sequence: number(SEQ), report: report(body) })
        },
    )
}

fn report(body: &[u8]) -> Option<Report> {
    let number = |kind| find(body, kind).and_then(be32);
    let (event, decision) = Event::parse(text(find(body, PREFIX)?)?)?;
    Some(Report {
        event,
        decision,
        hook: *find(body, PACKET_HDR)?.get(2)?,
        input: number(IFINDEX_INDEV),
        output: number(IFINDEX_OUTDEV),
        packet: find(body, PAYLOAD).and_then(packet),
    })
}

#[cfg(test)]
mod tests {
    use brindle_model::packet::{Packet, Transport};
    use brindle_model::verdict::{DecisionId, Label};
    use proptest::prelude::*;

    use super::*;
    use crate::nfnetlink::Writer;

    fn message(prefix: &str, sequence: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(SUBSYSTEM | MSG_PACKET, 0, 0, 2, 9898, |w| {
            w.attr(PACKET_HDR, &[0x08, 0, 2, 0]);
            w.u32(IFINDEX_INDEV, 7);
            w.string(PREFIX, prefix);
            w.u32(SEQ, sequence);
            let mut packet =
                vec![0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            packet.extend([0, 7, 0, 80]);
            w.attr(PAYLOAD, &packet);
        });
        writer.buffer
    }

    #[test]
    fn a_denied_packet() {
        let mut datagram = message("deny spoof", 5);
        datagram.extend(message("somebody else's", 6));
        let told: Vec<_> = decode(&datagram).collect();
        let report = Report {
            event: Event::Deny,
            decision: Label::Decision(DecisionId::Spoof),
            hook: 2,
            input: Some(7),
            output: None,
            packet: Some(Packet {
                source: "10.0.0.1".parse().unwrap(),
                destination: "10.0.0.2".parse().unwrap(),
                transport: Transport::Udp { source: 7, destination: 80 },
            }),
        };
        let ours = Told { sequence: Some(5), report: Some(report) };
        assert_eq!(told, [ours, Told { sequence: Some(6), report: None }]);
    }

    proptest! {
        #[test]
        fn damaged_messages_do_no_harm(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = message("log np/ns/web/ingress/3", 1);
            bytes.extend(message("deny tier/default", 2));
            for (at, value) in damage {
                *at.get_mut(&mut bytes) = value;
            }
            bytes.truncate(cut.index(bytes.len()) + 1);
            prop_assert!(decode(&bytes).count() <= 2 + bytes.len() / 16);
        }

        #[test]
        fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(decode(&bytes).count() <= bytes.len() / 16);
            if let Some(read) = packet(&bytes) {
                prop_assert_eq!(read.source.is_ipv4(), read.destination.is_ipv4());
            }
        }
    }
}
