//! Addresses that cannot be bound beside each other: one that is there twice, and one that another one covers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use plimsoll_core::document::{Faults, Span};

use super::super::file::File;
use super::Known;

/// An error for every address that could not be bound once those before it are. Who else has it is for `run` to find.
pub(super) fn check(file: &File, known: &Known<'_>, faults: &mut Faults) {
    let mut ports = Ports::default();
    // A file that could not be read may say where the API is.
    let bind = file.admin.bind.0.as_ref();
    let bind = bind.filter(|bind| known.complete || bind.span != Span::default());
    let admin = bind.and_then(|bind| Some(Place::of_admin(bind.value.address()?, bind.span)));
    let metrics = &file.admin.metrics_bind;
    let metrics = metrics.as_ref().map(|bind| Place::of_admin(bind.value.0, bind.span));
    for place in admin.into_iter().chain(metrics) {
        ports.take(place, faults);
    }
    for (_, _, listener) in file.listeners.read() {
        for bind in listener.bind.iter() {
            let address = bind.value.0;
            if let Some(v4) = mapped(address) {
                faults
                    .error(bind.span, format!("{address} is an IPv4 address written as IPv6"))
                    .help(format!("write \"{v4}\": IPv4 and IPv6 are bound apart"));
                continue;
            }
            ports.take(Place::of_listener(address, bind.span), faults);
        }
    }
}

/// The IPv4 address that a listener's IPv6 socket could not be bound to, since it takes IPv6 alone.
fn mapped(address: SocketAddr) -> Option<SocketAddr> {
    let canonical = address.ip().to_canonical();
    (canonical != address.ip()).then(|| SocketAddr::new(canonical, address.port()))
}

/// An address that is to be bound.
#[derive(Clone, Copy)]
struct Place {
    address: SocketAddr,
    /// Where it stands; the default span when it was left out.
    span: Span,
    /// Whether an IPv6 socket takes IPv4 as well: the admin API's do, as the system has it, and listeners' do not.
    both: bool,
}

impl Place {
    fn of_admin(address: SocketAddr, span: Span) -> Self {
        let canonical = mapped(address).unwrap_or(address);
        Place {
            address: canonical,
            span,
            both: true,
        }
    }

    fn of_listener(address: SocketAddr, span: Span) -> Self {
        Place {
            address,
            span,
            both: false,
        }
    }

    /// The families of which it takes every address: IPv4, IPv6.
    fn covers(&self) -> [bool; 2] {
        let all = self.address.ip().is_unspecified();
        let v4 = self.address.is_ipv4();
        [all && (v4 || self.both), all && !v4]
    }

    /// Whether it takes an address of each family: IPv4, IPv6.
    fn touches(&self) -> [bool; 2] {
        let [every_v4, _] = self.covers();
        [self.address.is_ipv4() || every_v4, self.address.is_ipv6()]
    }
}

/// What is taken of one port.
#[derive(Default)]
struct Taken {
    addresses: BTreeMap<SocketAddr, Place>,
    /// The first place that touches IPv4, and IPv6.
    first: [Option<Place>; 2],
    /// The place that covers IPv4, and IPv6.
    covering: [Option<Place>; 2],
}

/// What is taken, by port. Each address is held against a few others, however many there are.
#[derive(Default)]
struct Ports(BTreeMap<u16, Taken>);

impl Ports {
    fn take(&mut self, place: Place, faults: &mut Faults) {
        let port = place.address.port();
        // Port 0 is another port each time.
        if port == 0 {
            return;
        }
        let taken = self.0.entry(port).or_default();
        if let Some(other) = taken.in_the_way_of(&place) {
            refuse(&place, other, faults);
            return;
        }
        taken.addresses.insert(place.address, place);
        for family in 0..2 {
            if place.touches()[family] {
                taken.first[family].get_or_insert(place);
            }
            if place.covers()[family] {
                taken.covering[family].get_or_insert(place);
            }
        }
    }
}

impl Taken {
    fn in_the_way_of(&self, place: &Place) -> Option<&Place> {
        let (covers, touches) = (place.covers(), place.touches());
        let by_family = |family: usize| {
            let covered = self.covering[family].as_ref().filter(|_| touches[family]);
            covered.or(self.first[family].as_ref().filter(|_| covers[family]))
        };
        let same = self.addresses.get(&place.address);
        same.or_else(|| by_family(0)).or_else(|| by_family(1))
    }
}

fn refuse(place: &Place, other: &Place, faults: &mut Faults) {
    let (address, before) = (place.address, other.address);
    if other.span == Span::default() {
        let message = match address == before {
            true => format!("the admin API is on {before}"),
            false => format!("{address} cannot be bound: the admin API is on {before}"),
        };
        faults
            .error(place.span, message)
            .help("choose another port, or set [admin] bind");
        return;
    }
    if address == before {
        faults
            .error(place.span, format!("{address} is bound twice"))
            .also(other.span, "first here");
        return;
    }
    let width = |place: &Place| place.covers().into_iter().filter(|covered| *covered).count();
    let wide = if width(place) < width(other) { other } else { place };
    let family = match (wide.address.ip(), wide.both) {
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), _) => "every IPv4 address",
        (_, false) => "every IPv6 address",
        (_, true) => "every address",
    };
    faults
        .error(
            place.span,
            format!(
                "{address} cannot be bound beside {before}: {} is {family} of this host",
                wide.address
            ),
        )
        .help("keep one of the two, or give them two ports")
        .also(other.span, "bound here");
}
