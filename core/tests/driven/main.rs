//! The machine between both of its servers, driven as a program drives it.

mod absences;
mod by_hand;
mod claims;
mod definition;
mod definition_away;
mod flurries;
mod forged;
mod nodes;
mod objects;
mod rehearsals;
mod resources;
mod restored;
mod retirement;
mod services;
mod settling;
mod sleeper;
mod standing_still;
mod starts;
mod statuses;
mod unreadable;
mod waking;
mod wishes;
mod writes;
