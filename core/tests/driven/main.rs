//! The machine between both of its servers, driven as a program drives it.

mod claims;
mod definition;
mod definition_away;
mod flurries;
mod rehearsals;
mod resources;
mod retirement;
mod services;
mod sleeper;
mod starts;
mod statuses;
mod waking;
mod writes;
