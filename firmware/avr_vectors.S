; SPDX-License-Identifier: Apache-2.0
; The vectors of a run, in flash.
.section .progmem.data, "a", @progbits
.global tb_vectors, tb_vectors_end
tb_vectors:
.incbin "in.bin"
tb_vectors_end:
