//! BGP sockets and timers, driving brindle-bgp-proto.
