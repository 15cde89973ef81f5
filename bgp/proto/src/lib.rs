//! BGP sans-IO: codec, session FSM, RIBs, export queues.
