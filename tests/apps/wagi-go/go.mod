module wagi

go 1.24
