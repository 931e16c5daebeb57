// SPDX-License-Identifier: Apache-2.0
// Runs jobs, one per line of standard input, on the design hw_samples:
//   SELECT SRC_STALL% SNK_STALL% CUT WANT FRAME BITS[,BITS...] IN OUT
// IN and OUT hold 64-bit words, one per beat. CUT > 0: that many beats go in first, then reset.
// FRAME: beats per input frame; frame f is offered with the f-th of BITS, in turn.
// After WANT beats the design has 300 clocks to say something it should not; that goes to OUT too.
// A time-out ends a job early (OUT is short); a broken handshake ends everything with exit 1.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>
#include "Vhw_samples.h"
#include "verilated.h"

int main() {
  VerilatedContext context;
  Vhw_samples t{&context};
  std::string line;
  auto rise = [&] { t.clk = 1; t.eval(); };
  while (std::getline(std::cin, line)) {
    std::istringstream fields(line);
    int select, src, snk; size_t cut, want, frame; std::string bit_list, in_path, out_path;
    fields >> select >> src >> snk >> cut >> want >> frame >> bit_list >> in_path >> out_path;
    std::vector<int> bits; std::istringstream list(bit_list);
    for (std::string b; std::getline(list, b, ',');) bits.push_back(atoi(b.c_str()));
    std::ifstream f(in_path, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(f)), {});
    const uint64_t* in = reinterpret_cast<const uint64_t*>(bytes.data());
    size_t count = bytes.size() / 8;
    uint32_t rng = 1;
    auto stall = [&](int pct) { rng = rng * 1664525u + 1013904223u; return int((rng >> 16) % 100) < pct; };
    std::vector<uint64_t> out;
    long cycle = 0, done = 0;
    t.select = select;
    for (int pass = cut ? 0 : 1; pass < 2; pass++) {
      size_t i = 0; long idle = 0, over = 0; done = 0; bool held = false, waiting = false; uint64_t waited = 0;
      out.clear(); cycle = 0;
      t.rst = 1; t.s_axis_tvalid = 0; t.m_axis_tready = 0;
      for (int k = 0; k < 2; k++) { t.clk = 0; t.eval(); rise(); }
      t.rst = 0;
      for (; (pass ? over < 300 : i < cut) && idle < 200000; cycle++) {
        bool offer = i < count && (held || !stall(src));          // once valid is up it stays up
        t.clk = 0; t.s_axis_tvalid = offer;
        t.s_axis_tdata = offer ? in[i] : uint64_t(rng) * 0x9e3779b97f4a7c15u;
        t.bits = bits[(i / frame) % bits.size()];
        t.m_axis_tready = !stall(snk);
        t.eval();
        if (waiting && (!t.m_axis_tvalid || t.m_axis_tdata != waited)) {
          fprintf(stderr, "sample %d, cycle %ld: a beat changed while it waited\n", select, cycle);
          return 1;
        }
        bool sent = offer && t.s_axis_tready, got = t.m_axis_tvalid && t.m_axis_tready;
        waiting = t.m_axis_tvalid && !t.m_axis_tready; waited = t.m_axis_tdata;
        if (got) { out.push_back(t.m_axis_tdata); done = cycle + 1; }
        i += sent; held = offer && !sent; idle = sent || got ? 0 : idle + 1;
        over += out.size() >= want && i == count;
        rise();
      }
    }
    std::ofstream o(out_path, std::ios::binary);
    o.write(reinterpret_cast<const char*>(out.data()), std::streamsize(out.size() * 8));
    printf("%d %ld\n", select, done);
  }
  t.final();
  return 0;
}
