# SPDX-License-Identifier: Apache-2.0
"""Names of generated files, functions and modules."""

from __future__ import annotations

import re

LONGEST = 48  # with what is added to it within the limits of C linkers and of file systems

# C, C++ and SystemVerilog (which Verilator reads)
KEYWORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume auto automatic before
begin bind bins binsof bit bool break buf bufif0 bufif1 byte case casex casez catch cell char chandle
checker class clocking cmos config const constraint context continue cover covergroup coverpoint cross
deassign default defparam delete design disable dist do double edge else end endcase endchecker endclass
endclocking endconfig endfunction endgenerate endgroup endinterface endmodule endpackage endprimitive
endprogram endproperty endspecify endsequence endtable endtask enum event eventually expect explicit export
extends extern false final first_match float for force foreach forever fork forkjoin friend function
generate genvar global goto highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
incdir include initial inline inout input inside instance int integer interconnect interface intersect join
join_any join_none large let liblist library local localparam logic long longint macromodule main matches
medium modport module mutable namespace nand negedge nettype new nexttime nmos nor noshowcancelled not
notif0 notif1 null operator or output package packed parameter pmos posedge primitive priority private
program property protected public pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure
rand randc randcase randsequence rcmos real realtime ref reg register reject_on release repeat restrict
return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime s_until s_until_with scalared
sequence short shortint shortreal showcancelled signed sizeof small soft solve specify specparam static
string strong strong0 strong1 struct super supply0 supply1 switch sync_accept_on sync_reject_on table tagged
task template this throughout throw time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand
trior trireg true try type typedef typeid typename union unique unique0 unsigned until until_with untyped
use uwire var vectored virtual void volatile wait wait_order wand weak weak0 weak1 while wildcard wire with
within wor xnor xor
"""
HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg stdbool stddef
stdint stdio stdlib string tgmath time wchar wctype verilated
"""
TAKEN = frozenset(re.findall(r"\w+", KEYWORDS + HEADERS))


def identifier(name: str) -> str:
    """An identifier of C and Verilog from a file name: no keyword, no standard header, no block of ours."""
    cleaned = re.sub(r"[\W_]+", "_", name, flags=re.ASCII)[:LONGEST].strip("_") or "network"
    taken = cleaned.lower() in TAKEN or cleaned[0].isdigit() or cleaned.lower().startswith("tb_")
    return f"n_{cleaned}" if taken else cleaned
