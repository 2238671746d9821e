//! Writes a text anew, with the mutants in it.

use std::ops::Range;

use crate::weave::{Kind, Node, Number};

/// A text, and what in it is written anew: the outer before the inner.
pub struct Writer<'a> {
    pub text: &'a str,
    pub nodes: &'a [Node],
}

/// Comments tell afterwards which mutant a compiler's error is about.
fn marked(number: Number, text: &str) -> String {
    format!("/*<{number}*/{text}/*{number}>*/")
}

fn asked(number: Number) -> String {
    format!("crate::is_mutated({number})")
}

/// An expression with the operator that is chosen.
fn choice(mutants: &[(Number, String)], operator: &str, with: impl Fn(&str) -> String) -> String {
    let mut out = "(".to_owned();
    for (number, other) in mutants {
        let changed = format!("if {} {{ {} }} else ", asked(*number), with(other));
        out.push_str(&marked(*number, &changed));
    }
    out + &format!("{{ {} }})", with(operator))
}

impl Writer<'_> {
    /// Writes a range of the text with these nodes in it, and perhaps others that lie outside of it.
    pub fn write(&self, out: &mut String, range: Range<usize>, nodes: Range<usize>) {
        let mut at = range.start;
        let mut next = nodes.start;
        while next < nodes.end {
            let node = &self.nodes[next];
            let inside = node.range.start >= at && node.range.end <= range.end;
            let begun = next;
            next += 1;
            if !inside {
                continue;
            }
            out.push_str(&self.text[at..node.range.start]);
            while next < nodes.end
                && !node.range.is_empty()
                && self.nodes[next].range.start < node.range.end
            {
                next += 1;
            }
            self.node(out, node, begun + 1..next);
            at = node.range.end;
        }
        out.push_str(&self.text[at..range.end]);
    }

    fn part(&self, range: &Range<usize>, nodes: &Range<usize>) -> String {
        let mut out = String::new();
        self.write(&mut out, range.clone(), nodes.clone());
        out
    }

    fn node(&self, out: &mut String, node: &Node, inner: Range<usize>) {
        match &node.kind {
            Kind::Body(values) => {
                for (number, value) in values {
                    let early = format!("if {} {{ return {value}; }}", asked(*number));
                    out.push_str(&marked(*number, &early));
                }
            }
            // `a && b`, and `a || b` if that is chosen, without writing either twice.
            Kind::Logic(number, left, right) => {
                let (left, right) = (self.part(left, &inner), self.part(right, &inner));
                let asked = asked(*number);
                let whole = format!("(if ({left}) != {asked} {{ {right} }} else {{ {asked} }})");
                out.push_str(&marked(*number, &whole));
            }
            Kind::Binary {
                left,
                operator,
                right,
                mutants,
            } => {
                let (left, right) = (self.part(left, &inner), self.part(right, &inner));
                let with = |operator: &str| format!("({left}) {operator} ({right})");
                out.push_str(&choice(mutants, operator, with));
            }
            Kind::Unary {
                operator,
                operand,
                mutants,
            } => {
                let operand = self.part(operand, &inner);
                let with = |operator: &str| format!("{operator}({operand})");
                out.push_str(&choice(mutants, operator, with));
            }
            Kind::Guard {
                arm,
                guards,
                has_one,
            } => {
                let mut terms = Vec::new();
                if let Some(number) = arm {
                    terms.push(marked(*number, &format!("!{}", asked(*number))));
                }
                if *has_one {
                    let mut guard = self.part(&node.range, &inner);
                    for (number, value) in guards {
                        let term = match value.trim() {
                            "true" => format!("({} || ({guard}))", asked(*number)),
                            _ => format!("(!{} && ({guard}))", asked(*number)),
                        };
                        guard = marked(*number, &term);
                    }
                    terms.push(format!("({guard})"));
                }
                let terms = terms.join(" && ");
                out.push_str(&if *has_one {
                    terms
                } else {
                    format!(" if {terms}")
                });
            }
        }
    }
}
