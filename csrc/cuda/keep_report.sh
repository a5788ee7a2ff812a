#!/bin/sh
# Runs a compiler and keeps what it says of registers and spills: keep_report.sh FOLDER nvcc ... -o OBJECT ...
folder=$1
shift
for argument; do
    [ "$previous" = -o ] && object=$(basename "$argument")
    previous=$argument
done
mkdir -p "$folder"
"$@" 2>"$folder/$object.new"
status=$?
grep -v "^ptxas info\|bytes stack frame\|^$" "$folder/$object.new" >&2
[ $status = 0 ] && mv "$folder/$object.new" "$folder/$object.txt"
exit $status
