//! Which of the sockets of an address a packet goes to.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_MOD, BPF_RET, sock_filter, sock_fprog,
};

/// The value that a program returns: what it has computed (`BPF_A` of linux/bpf_common.h).
const RETURN_COMPUTED: u32 = 0x10;

/// Has packets that reach the address of `socket` go to the socket whose number their connection id carries, of
/// `workers` that share it in the order in which they were bound.
///
/// The program sees what UDP carries. RFC 8999 §5 has the id at a fixed place in all versions of QUIC: behind the first
/// byte of a packet with a short header, and behind six of one with a long one. In a client's first packets it is random,
/// and they go wherever it leads; what is too short to have one goes to the first.
///
/// # Errors
/// The kernel knows no such programs; it then goes by the addresses alone.
pub fn steer(socket: &UdpSocket, workers: usize) -> io::Result<()> {
    let workers = u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let step = |code: u32, (jump_true, jump_false): (u8, u8), k: u32| sock_filter {
        // All codes are below 256.
        code: u16::try_from(code).unwrap_or_default(),
        jt: jump_true,
        jf: jump_false,
        k,
    };
    let mut program = [
        step(BPF_LD | BPF_B | BPF_ABS, (0, 0), 0),
        step(BPF_JMP | BPF_JSET | BPF_K, (0, 2), 0x80),
        step(BPF_LD | BPF_H | BPF_ABS, (0, 0), 6),
        step(BPF_JMP, (0, 0), 1),
        step(BPF_LD | BPF_H | BPF_ABS, (0, 0), 1),
        step(BPF_ALU | BPF_MOD | BPF_K, (0, 0), workers),
        step(BPF_RET | RETURN_COMPUTED, (0, 0), 0),
    ];
    let program = sock_fprog {
        len: u16::try_from(program.len()).unwrap_or_default(),
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of::<sock_fprog>()).unwrap_or_default();
    // SAFETY: the descriptor is open, `program` and the steps that it points to outlive the call, and the kernel reads
    // `length` bytes of it, which is its size, and `len` steps. It copies both.
    #[expect(unsafe_code, reason = "rustix and socket2 do not have this option")]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&program).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use quinn::ConnectionIdGenerator;

    use super::*;
    use crate::quic::ids::Ids;
    use crate::quic::listen_quic;

    #[test]
    fn packets_reach_the_worker_that_their_id_names_whoever_sends_them() {
        let workers = 3;
        let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets: Vec<UdpSocket> = (0..workers)
            .map(|_| {
                let socket = listen_quic(address).unwrap();
                address = socket.local_addr().unwrap();
                socket.set_nonblocking(false).unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                socket
            })
            .collect();
        steer(&sockets[0], workers).unwrap();
        for round in 0..60 {
            let worker = round % workers;
            let id = Ids { worker, workers }.generate_cid();
            let short = [&[0x40][..], &id, b"rest"].concat();
            let long = [&[0xc0, 0, 0, 0, 1, 10][..], &id, b"rest"].concat();
            // Each from another port, which the kernel's own way would spread.
            for packet in [short, long] {
                let client = UdpSocket::bind("127.0.0.1:0").unwrap();
                client.send_to(&packet, address).unwrap();
                let mut read = [0; 64];
                let (count, from) = sockets[worker].recv_from(&mut read).unwrap();
                assert_eq!((&read[..count], from), (&packet[..], client.local_addr().unwrap()));
            }
        }
    }
}
