//! TUN devices and UDP sockets in batches, with every Linux offload learnt at run time.
