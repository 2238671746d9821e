//! Puts mutants into a file beside the code that they change, each behind the question whether it is the chosen one.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Context;
use syn::{spanned::Spanned, visit::Visit};

use crate::{
    mutant::{Genre, Lines, Mutant, Place},
    writer::Writer,
};

/// A mutant's number: what the tests are told to choose it. Zero is none.
pub type Number = u32;

/// A part of the text that is written anew, and how.
pub struct Node {
    pub range: Range<usize>,
    pub kind: Kind,
}

/// What is written there.
pub enum Kind {
    /// The beginning of a function's body.
    Body(Vec<(Number, String)>),
    /// `&&` or `||`, which becomes the other one.
    Logic(Number, Range<usize>, Range<usize>),
    Binary {
        left: Range<usize>,
        operator: String,
        right: Range<usize>,
        mutants: Vec<(Number, String)>,
    },
    Unary {
        operator: String,
        operand: Range<usize>,
        mutants: Vec<(Number, String)>,
    },
    /// A guard of a match arm, or the place where one would stand.
    Guard {
        arm: Option<Number>,
        guards: Vec<(Number, String)>,
        has_one: bool,
    },
}

/// The text with the mutants in it, and the numbers of those that it has no place for.
pub fn weave(text: &str, mutants: &[(Number, &Mutant)]) -> anyhow::Result<(String, Vec<Number>)> {
    let file = syn::parse_file(text).context("this is no Rust")?;
    let mut left: BTreeMap<Place, Vec<(Number, &Mutant)>> = BTreeMap::new();
    for (number, mutant) in mutants {
        left.entry(mutant.span.start)
            .or_default()
            .push((*number, mutant));
    }
    let mut finder = Finder {
        lines: Lines::of(text),
        text,
        left,
        nodes: Vec::new(),
        homeless: Vec::new(),
    };
    finder.bodies();
    finder.visit_file(&file);
    let Finder {
        mut nodes,
        left,
        mut homeless,
        ..
    } = finder;
    // The outer before the inner, and what is put in between before what stands there.
    nodes.sort_by_key(|node| {
        let insertion = node.range.is_empty();
        (
            node.range.start,
            !insertion,
            std::cmp::Reverse(node.range.end),
        )
    });
    let mut out = String::new();
    Writer {
        text,
        nodes: &nodes,
    }
    .write(&mut out, 0..text.len(), 0..nodes.len());
    homeless.extend(left.into_values().flatten().map(|(number, _)| number));
    Ok((out, homeless))
}

struct Finder<'a> {
    text: &'a str,
    lines: Lines<'a>,
    left: BTreeMap<Place, Vec<(Number, &'a Mutant)>>,
    nodes: Vec<Node>,
    homeless: Vec<Number>,
}

impl Finder<'_> {
    fn range(&self, of: &impl Spanned) -> Range<usize> {
        let span = of.span();
        self.lines.byte(span.start().into())..self.lines.byte(span.end().into())
    }

    /// Takes the mutants of one genre that begin where this does.
    fn take(&mut self, of: &impl Spanned, genre: Genre) -> Vec<(Number, String)> {
        self.take_at(of.span().start().into(), genre)
    }

    fn take_at(&mut self, place: Place, genre: Genre) -> Vec<(Number, String)> {
        let Some(here) = self.left.get_mut(&place) else {
            return Vec::new();
        };
        here.extract_if(.., |(_, mutant)| mutant.genre == genre)
            .map(|(number, mutant)| (number, mutant.replacement.clone()))
            .collect()
    }

    /// Bodies are where cargo-mutants says that they are.
    fn bodies(&mut self) {
        let places: Vec<Place> = self.left.keys().copied().collect();
        for place in places {
            let values = self.take_at(place, Genre::FnValue);
            if !values.is_empty() {
                let at = self.lines.byte(place);
                self.nodes.push(Node {
                    range: at..at,
                    kind: Kind::Body(values),
                });
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        // A chain with `let` in it has no `||`: those mutants cannot be built.
        if !has_let(&binary.left) && !has_let(&binary.right) {
            let mutants = self.take(&binary.op, Genre::BinaryOperator);
            let (left, right) = (self.range(&binary.left), self.range(&binary.right));
            let logic = matches!(binary.op, syn::BinOp::And(_) | syn::BinOp::Or(_));
            let range = left.start..right.end;
            if let ([(number, _)], true) = (&mutants[..], logic) {
                let kind = if matches!(binary.op, syn::BinOp::And(_)) {
                    Kind::Logic(*number, left, right)
                } else {
                    Kind::Binary {
                        left,
                        operator: "||".into(),
                        right,
                        mutants,
                    }
                };
                self.nodes.push(Node { range, kind });
            } else if !mutants.is_empty() {
                let operator = self.text[self.range(&binary.op)].to_owned();
                self.nodes.push(Node {
                    range,
                    kind: Kind::Binary {
                        left,
                        operator,
                        right,
                        mutants,
                    },
                });
            }
        }
        syn::visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let mutants = self.take(&unary.op, Genre::UnaryOperator);
        if !mutants.is_empty() {
            let operand = self.range(&unary.expr);
            let operator = self.text[self.range(&unary.op)].to_owned();
            self.nodes.push(Node {
                range: self.range(unary),
                kind: Kind::Unary {
                    operator,
                    operand,
                    mutants,
                },
            });
        }
        syn::visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, found: &'ast syn::ExprMatch) {
        // An arm with a guard does not count: without one that takes all, nothing would be left.
        let takes_all = |arm: &syn::Arm| match &arm.pat {
            _ if arm.guard.is_some() => false,
            syn::Pat::Wild(_) => true,
            // `None` is one, too.
            syn::Pat::Ident(name) => {
                let begins_small = |text: String| text.starts_with(|c: char| c.is_lowercase());
                name.subpat.is_none() && begins_small(name.ident.to_string())
            }
            _ => false,
        };
        if !found.arms.iter().any(takes_all) {
            for arm in &found.arms {
                let left_out = self.take(arm, Genre::MatchArm);
                self.homeless
                    .extend(left_out.into_iter().map(|(number, _)| number));
            }
        }
        syn::visit::visit_expr_match(self, found);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let guard = arm.guard.as_ref().map(|(_, guard)| guard);
        if !guard.is_some_and(|guard| has_let(guard)) {
            let whole = self
                .take(arm, Genre::MatchArm)
                .first()
                .map(|(number, _)| *number);
            let guards =
                guard.map_or_else(Vec::new, |guard| self.take(guard, Genre::MatchArmGuard));
            if whole.is_some() || !guards.is_empty() {
                let range = guard.map_or_else(
                    || {
                        let end = self.range(&arm.pat).end;
                        end..end
                    },
                    |guard| self.range(guard),
                );
                self.nodes.push(Node {
                    range,
                    kind: Kind::Guard {
                        arm: whole,
                        guards,
                        has_one: guard.is_some(),
                    },
                });
            }
        }
        syn::visit::visit_arm(self, arm);
    }
}

fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::weave;
    use crate::mutant::{Genre, Mutant, Place, Span};

    /// The mutant of what stands at the mark `§`, and the text without it.
    fn woven(text: &str, genre: Genre, replacement: &str) -> (String, usize) {
        let at = text.find('§').expect("a mark");
        let column = text[..at].chars().count() + 1;
        let start = Place { line: 1, column };
        let mutant = Mutant {
            name: "of the test".into(),
            file: "lib.rs".into(),
            genre,
            replacement: replacement.into(),
            span: Span { start },
        };
        let (text, homeless) = weave(&text.replace('§', ""), &[(7, &mutant)]).expect("it is Rust");
        let marks = ["/*<7*/", "/*7>*/", "crate::"];
        let text = marks.iter().fold(text, |text, mark| text.replace(mark, ""));
        (text, homeless.len())
    }

    #[test]
    fn an_operator_stands_beside_the_one_that_it_replaces() {
        let (text, _) = woven(
            "fn f() -> bool { a.b() §== c }",
            Genre::BinaryOperator,
            "!=",
        );
        let both = "(if is_mutated(7) { (a.b()) != (c) } else { (a.b()) == (c) })";
        assert_eq!(text, format!("fn f() -> bool {{ {both} }}"));
    }

    #[test]
    fn both_sides_of_a_conjunction_are_written_once() {
        let (text, _) = woven("fn f() -> bool { a §&& b }", Genre::BinaryOperator, "||");
        let both = "(if (a) != is_mutated(7) { b } else { is_mutated(7) })";
        assert_eq!(text, format!("fn f() -> bool {{ {both} }}"));
    }

    #[test]
    fn a_body_returns_early_what_replaces_it() {
        let (text, _) = woven("fn f() -> u8 { §3 }", Genre::FnValue, "0");
        assert_eq!(text, "fn f() -> u8 { if is_mutated(7) { return 0; }3 }");
    }

    #[test]
    fn an_arm_is_deleted_by_a_guard() {
        let text = "fn f() -> u8 { match x { §Some(1) => 1, _ => 2 } }";
        let (text, homeless) = woven(text, Genre::MatchArm, "");
        assert_eq!(
            text,
            "fn f() -> u8 { match x { Some(1) if !is_mutated(7) => 1, _ => 2 } }"
        );
        assert_eq!(homeless, 0);
        // An arm with a guard does not count where all must be named.
        let text = "fn f() -> u8 { match x { §Some(_) => 1, None => 2 } }";
        let (text, homeless) = woven(text, Genre::MatchArm, "");
        assert_eq!(text, "fn f() -> u8 { match x { Some(_) => 1, None => 2 } }");
        assert_eq!(homeless, 1);
    }
}
